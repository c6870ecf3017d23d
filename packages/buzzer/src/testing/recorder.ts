import type { BusObserver, ObservedMessage } from '../bus/index.ts'
import type { AnyContract, Clock, Codec } from '../message/index.ts'
import type { Delivery, OutgoingMessage, Receiver, Settlement, Transport } from '../transport/index.ts'

/** Something that happened to a message on the bus under test. */
export interface Happening {
  readonly what: 'emitted' | 'attempted' | 'consumed' | 'dead-lettered'
  readonly id: string
  readonly type: string
  readonly baseTypes: readonly string[]
  readonly kind: string | undefined
  readonly at: Date
  readonly headers: Readonly<Record<string, string>>
  readonly conversationId: string
  readonly causationId?: string
  readonly queue?: string
  readonly attempt?: number
  readonly error?: unknown
  /** Decoded with the contract asked for, where the bus did not tell the value. */
  readonly message: (codec: Codec) => unknown
}

/**
 * Writes down what leaves the bus and what becomes of what comes in. Emissions are taken from the transport, so that only
 * what the broker accepted counts; runs and ends are taken from the bus.
 */
export class Recorder implements BusObserver {
  readonly happenings: Happening[] = []
  /** Grows with everything that is seen; what stands still has an equal one. */
  changes = 0
  /** Sends without confirmation and deliveries without settlement. */
  open = 0
  readonly #clock: Clock
  readonly #emitted = new Map<string, ObservedMessage & { readonly kind: string }>()
  readonly #onChange = new Set<() => void>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  onChange(listener: () => void): () => void {
    this.#onChange.add(listener)
    return () => this.#onChange.delete(listener)
  }

  emitted(message: ObservedMessage & { readonly kind: 'event' | 'command' | 'request' }): void {
    this.#emitted.set(message.id, message)
    this.#changed()
  }

  attempted(
    message: ObservedMessage & { readonly queue: string; readonly attempt: number; readonly error?: unknown },
  ): void {
    this.#write('attempted', message)
  }

  ended(
    message: ObservedMessage & {
      readonly queue: string
      readonly attempt: number
      readonly as: 'handled' | 'dead-letter' | 'expired' | 'discarded' | 'duplicate' | 'deferred'
      readonly error?: unknown
    },
  ): void {
    if (message.as === 'handled') this.#write('consumed', message)
    else if (message.as === 'dead-letter') this.#write('dead-lettered', message)
    else this.#changed()
  }

  /** The transport as the bus gets it. Everything but `send` and `receive` is passed on untouched. */
  watch<Tx>(transport: Transport<Tx>): Transport<Tx> {
    return {
      name: transport.name,
      get capabilities() {
        return transport.capabilities
      },
      connect: context => transport.connect(context),
      declare: topology => transport.declare(topology),
      send: async (messages, options) => {
        this.#begin()
        try {
          await transport.send(messages, options)
          for (const message of messages) this.#accept(message)
        } finally {
          this.#end()
        }
      },
      receive: (queue, onDelivery, options): Promise<Receiver> =>
        transport.receive(queue, delivery => this.#handle(delivery, onDelivery), options),
      close: () => transport.close(),
      ...(transport.admin === undefined ? {} : { admin: transport.admin }),
      ...(transport.store === undefined ? {} : { store: transport.store }),
    }
  }

  async #handle(delivery: Delivery, onDelivery: (delivery: Delivery) => Promise<Settlement>): Promise<Settlement> {
    this.#begin()
    try {
      return this.#settling(await onDelivery(delivery))
    } finally {
      this.#end()
    }
  }

  /** Outputs of a settlement count as accepted unless the broker asks what to do instead. */
  #settling(settlement: Settlement): Settlement {
    if (settlement.as === 'release' || !('onRefused' in settlement || 'send' in settlement)) return settlement
    const { onRefused } = settlement
    const accepted = ('send' in settlement ? (settlement.send ?? []) : []).map(message => this.#accept(message))
    if (onRefused === undefined) return settlement
    return {
      ...settlement,
      onRefused: async error => {
        for (const happening of accepted) this.happenings.splice(this.happenings.indexOf(happening), 1)
        this.#changed()
        return this.#settling(await onRefused(error))
      },
    }
  }

  #accept(message: OutgoingMessage): Happening {
    const known = this.#emitted.get(message.id)
    const { attributes } = message
    const causationId = known?.causationId ?? attributes['causationid']
    const happening: Happening = {
      what: 'emitted',
      id: message.id,
      type: known?.type ?? attributes['type'] ?? '',
      baseTypes: known === undefined ? splitTypes(attributes['basetypes']) : basesOf(known.contract),
      kind: known?.kind ?? attributes['messagekind'],
      at: new Date(this.#clock.now()),
      headers: message.headers,
      conversationId: known?.conversationId ?? attributes['conversationid'] ?? message.id,
      message: codec => (known === undefined ? decode(codec, message) : known.message),
      ...(causationId === undefined ? {} : { causationId }),
      ...('queue' in message.to ? { queue: message.to.queue } : {}),
    }
    this.happenings.push(happening)
    this.#changed()
    return happening
  }

  #write(
    what: 'attempted' | 'consumed' | 'dead-lettered',
    message: ObservedMessage & { readonly queue: string; readonly attempt: number; readonly error?: unknown },
  ): void {
    this.happenings.push({
      what,
      id: message.id,
      type: message.type,
      baseTypes: basesOf(message.contract),
      kind: message.contract?.kind,
      at: new Date(this.#clock.now()),
      headers: message.headers,
      conversationId: message.conversationId,
      queue: message.queue,
      attempt: message.attempt,
      message: () => message.message,
      ...(message.causationId === undefined ? {} : { causationId: message.causationId }),
      ...(message.error === undefined ? {} : { error: message.error }),
    })
    this.#changed()
  }

  #begin(): void {
    this.open++
    this.#changed()
  }

  #end(): void {
    this.open--
    this.#changed()
  }

  #changed(): void {
    this.changes++
    for (const listener of this.#onChange) listener()
  }
}

/** The contract's own type and its bases: a handler of a base tells of the base's contract. */
function basesOf(contract: AnyContract | undefined): readonly string[] {
  if (contract === undefined) return []
  return contract.kind === 'event' ? [contract.type, ...contract.bases.map(base => base.type)] : [contract.type]
}

function splitTypes(list: string | undefined): readonly string[] {
  return list === undefined || list === '' ? [] : list.split(',').map(type => type.trim())
}

function decode(codec: Codec, message: OutgoingMessage): unknown {
  return codec.decode(message.body, message.contentType ?? codec.contentType)
}
