import { type Capabilities, weakestCapabilities } from './capabilities.ts'
import type { Transport } from './transport.ts'

/** What a transport's author writes: the five methods and the capabilities it has. */
export type TransportDefinition<Tx> = Omit<Transport<Tx>, 'capabilities'> & {
  readonly capabilities?: Partial<Capabilities>
}

/**
 * Completes a transport: capabilities left out get the weakest value, so the core emulates or refuses what they stand for.
 * Capabilities that are only known after `connect` are given as an object with getters.
 */
export function defineTransport<Tx = never>(definition: TransportDefinition<Tx>): Transport<Tx> {
  const given = definition.capabilities ?? {}
  const capabilities = Object.create(null) as Capabilities
  for (const name of Object.keys(weakestCapabilities) as (keyof Capabilities)[]) {
    Object.defineProperty(capabilities, name, { enumerable: true, get: () => given[name] ?? weakestCapabilities[name] })
  }
  const transport: Transport<Tx> = {
    name: definition.name,
    capabilities,
    connect: context => definition.connect(context),
    declare: topology => definition.declare(topology),
    send: (messages, options) => definition.send(messages, options),
    receive: (queue, onDelivery, options) => definition.receive(queue, onDelivery, options),
    close: () => definition.close(),
    ...(definition.admin === undefined ? {} : { admin: definition.admin }),
    ...(definition.store === undefined ? {} : { store: definition.store }),
    ...(definition.log === undefined ? {} : { log: definition.log }),
  }
  return transport
}
