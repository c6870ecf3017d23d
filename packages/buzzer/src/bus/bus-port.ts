import type { AnyCommandContract, AnyEventContract, Clock, In, Logger, NewId } from '../message/index.ts'
import type { StateChange, Store } from '../store/index.ts'
import type { Transport } from '../transport/index.ts'
import type { BusObserver } from './bus-observer.ts'
import type { MessageTracker } from './message-tracker.ts'

/**
 * What other rooms of this package may ask of a bus and users may not. Obtained by `portOf(bus)`; exported by the room's
 * index, not by the package.
 */
export interface BusPort {
  readonly bus: string
  readonly instanceId: string
  readonly clock: Clock
  readonly newId: NewId
  /** 0 ≤ x < 1. */
  readonly random: () => number
  readonly logger: Logger
  readonly transport: Transport<unknown>
  /** The store that features use: the bus's option, else the transport's own, else none. */
  readonly store: Store<unknown> | undefined
  readonly state: 'new' | 'starting' | 'running' | 'stopping' | 'stopped'
  /** Must be called before `start()`. */
  track(tracker: MessageTracker): void
  /** Tells `observer` of emissions, attempts and ends from now on. The result detaches it. */
  observe(observer: BusObserver): () => void
  /** Work the broker cannot see: handler runs, sends without confirmation, outbox rows not yet relayed. 0 is idle. */
  activity(): Promise<number>
  /** Asked by `start()`; each string becomes one of the `problems` of `BUZZER_CONFIGURATION`. */
  check(problems: () => readonly string[]): void
  /** The queue a command goes to: `to`, the contract's, this bus's handler, then another process's. Undefined: no route. */
  route(command: AnyCommandContract, to?: string): Promise<string | undefined>
  /**
   * As `bus.send`, with records committed in the same step, and with reserved `buzzer-` headers allowed. The payload may be
   * given as already validated (`validated: true`): then the schema is not asked again.
   */
  sendWith<C extends AnyCommandContract>(
    command: C,
    payload: In<C>,
    options: JoinedSend & { readonly to?: string },
  ): Promise<string>
  /** The same for an event, as `bus.publish`. */
  publishWith<C extends AnyEventContract>(event: C, message: In<C>, options: JoinedSend): Promise<string>
}

/** Options of a send that carries records with it. */
export interface JoinedSend {
  readonly messageId: string
  /** Not checked: reserved `buzzer-` headers are allowed. */
  readonly headers?: Readonly<Record<string, string>>
  /** CloudEvents attributes that replace what the bus would write. */
  readonly attributes?: Readonly<Record<string, string>>
  readonly key?: string
  readonly priority?: number
  readonly delayMs?: number
  readonly ttlMs?: number
  readonly validated?: true
  readonly state: readonly StateChange[]
  readonly signal?: AbortSignal
}
