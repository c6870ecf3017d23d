import type {
  Delivery,
  OnDelivery,
  OutgoingMessage,
  Settlement,
  Topology,
  Transport,
  TransportAdmin,
} from '../../transport/index.ts'
import { memory, type MemoryBroker, memoryBroker, type MemoryTransport } from '../../transport/transports/memory.ts'
import type { TransportConformanceOptions } from '../transport-conformance.ts'

/** A transport that breaks one duty, and the cases that must notice. */
export interface Saboteur {
  readonly name: string
  /** How the names of the cases begin that must fail. */
  readonly caughtBy: readonly string[]
  /** Options for the suite, with a broker of its own. */
  options(): TransportConformanceOptions
}

/** What all clients of one sabotaged broker share. */
export interface Scene {
  readonly broker: MemoryBroker
  /** A client that is not sabotaged. */
  honest(): MemoryTransport
  readonly memory: Map<string, unknown>
}

type Break = (honest: MemoryTransport, scene: Scene) => Partial<Transport>

export function saboteur(
  name: string,
  caughtBy: readonly string[],
  breakIt: Break,
  more: (scene: Scene) => Partial<TransportConformanceOptions> = () => ({}),
): Saboteur {
  return {
    name,
    caughtBy,
    options() {
      const broker = memoryBroker()
      const scene: Scene = { broker, honest: () => memory({ broker }), memory: new Map() }
      return {
        name,
        create() {
          const honest = scene.honest()
          return { ...honest, ...breakIt(honest, scene) }
        },
        transaction: work => broker.transaction(tx => work(tx)),
        restartBroker: () => Promise.resolve(),
        ...more(scene),
      }
    },
  }
}

/** Changes each message on its way out; `undefined` loses it. */
export function sending(
  change: (message: OutgoingMessage) => OutgoingMessage | readonly OutgoingMessage[] | undefined,
): Break {
  return honest => ({
    send: (messages, options) =>
      honest.send(
        messages.flatMap(message => change(message) ?? []),
        options,
      ),
  })
}

/** Changes each delivery on its way in. */
export function delivering(change: (delivery: Delivery) => Delivery): Break {
  return honest => ({
    receive: (queue, onDelivery, options) => honest.receive(queue, delivery => onDelivery(change(delivery)), options),
  })
}

/** Changes each settlement. */
export function settlement(
  change: (settlement: Settlement, delivery: Delivery) => Settlement | Promise<Settlement>,
): Break {
  return honest => ({
    receive: (queue, onDelivery, options) =>
      honest.receive(queue, async delivery => change(await onDelivery(delivery), delivery), options),
  })
}

/** Wraps what receivers call. */
export function handling(wrap: (onDelivery: OnDelivery, scene: Scene) => OnDelivery): Break {
  return (honest, scene) => ({
    receive: (queue, onDelivery, options) => honest.receive(queue, wrap(onDelivery, scene), options),
  })
}

/** Changes each declaration. */
export function declaring(change: (topology: Topology) => Topology): Break {
  return honest => ({ declare: topology => honest.declare(change(topology)) })
}

/** Changes the options of each declared queue. */
export function queues(change: (queue: Topology['queues'][number]) => Topology['queues'][number]): Break {
  return declaring(topology => ({ ...topology, queues: topology.queues.map(change) }))
}

/** Replaces calls of the admin. */
export function admin(
  change: (honest: Required<Omit<TransportAdmin, 'examine'>>, transport: MemoryTransport) => Partial<TransportAdmin>,
): Break {
  return honest => ({ admin: { ...honest.admin, ...change(honest.admin, honest) } })
}

/** Several breaks at once, for a duty that has more than one door. */
export function both(...breaks: readonly Break[]): Break {
  return (honest, scene) => Object.assign({}, ...breaks.map(one => one(honest, scene))) as Partial<Transport>
}

export const after = (ms: number): Promise<void> =>
  new Promise(resolve => {
    setTimeout(resolve, ms).unref()
  })

/** The value without some of its fields. */
export function without<T extends object>(value: T, ...names: readonly (keyof T)[]): T {
  return Object.fromEntries(Object.entries(value).filter(([name]) => !names.includes(name as keyof T))) as T
}
