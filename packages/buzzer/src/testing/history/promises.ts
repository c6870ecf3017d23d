import type { OrderBy } from '../../transport/index.ts'

/**
 * What a broker promises, and by which its histories are judged. The defaults are the promises of the embedded broker,
 * which are the strictest. Source: spec broker 14, spec bus 2.
 */
export interface Promises {
  /** Order of each queue, or of all. Messages without key have none under `'key'`. Default: `'key'`. */
  readonly orderBy?: OrderBy | Readonly<Record<string, OrderBy>>
  /**
   * What comes before what. `'calls'`: sends of one process are accepted in the order of their calls, awaited or not.
   * `'confirmations'`: only what was confirmed before the other was sent. Default: `'calls'`.
   */
  readonly acceptance?: 'calls' | 'confirmations'
  /** A message that comes back keeps its key waiting: no other of the key begins before it. Default: true. */
  readonly keyWaits?: boolean
  /**
   * Two handlings that must not overlap while both processes live and are connected: of one `'message'`, of one `'key'`
   * too, or `'none'` are promised. Default: `'key'`.
   */
  readonly exclusion?: 'none' | 'message' | 'key'
  /** A process stopped for so long has lost its locks. Default: 30,000. */
  readonly lockMs?: number
  /** A process whose event loop was blocked for so long has lost its locks. Default: 300,000. */
  readonly stallMs?: number
  /**
   * A second copy, or a handling after an acknowledged one. `'redelivered'`: only as a redelivery of a settlement that a
   * fault may have kept from becoming durable. `'after-faults'`: wherever a fault fell between the send and the second
   * handling. `'allowed'`: always. Default: `'redelivered'`.
   */
  readonly duplicates?: 'redelivered' | 'after-faults' | 'allowed'
  /**
   * `'counted'`: `attempt` rises by one with each counted delivery, by at most one more per crash. `'rising'`: it never
   * falls and never stands still. `'uncounted'`: it says nothing. Default: `'counted'`.
   */
  readonly attempts?: 'counted' | 'rising' | 'uncounted'
  /** Deliveries of one message at most, by queue. Default: no limit is judged. */
  readonly maxDeliveries?: Readonly<Record<string, number>>
  /**
   * A broker learns of a death within this time after somebody else saw it: until then it may hand the dead a message, and
   * count that. Default: 1,000.
   */
  readonly noticesDeathWithinMs?: number
  /** Messages, fan-out and state of one send: all or none. Default: true. */
  readonly atomicSends?: boolean
  /** A settlement, its outputs and its state, and all of a group: all or none, and nothing of a lost lock. Default: true. */
  readonly atomicSettlements?: boolean
  /** Once the faults have ended, queues drain and a new send succeeds within this time. Default: 10,000. */
  readonly livesWithinMs?: number
  /** For each message that waited when the faults ended, queues may take so much longer to drain. Default: 0. */
  readonly drainMsPerMessage?: number
  /** A settlement is durable after this time if no fault came until then. Default: 10,000. */
  readonly settlesWithinMs?: number
  /** Two looks at the wall clock, one at the broker and one at the handler, differ by at most so much. Default: 2. */
  readonly earlyByMs?: number
  /** From the broker's judgement that a message has not expired to the record of its handler. Default: 1,000. */
  readonly expiredByMs?: number
}

/** Promises with every default in place. */
export type FullPromises = Required<Promises>

/** The promises of the embedded broker, and the default of `checkHistory`. */
export const strictPromises: FullPromises = {
  orderBy: 'key',
  acceptance: 'calls',
  keyWaits: true,
  exclusion: 'key',
  lockMs: 30_000,
  stallMs: 300_000,
  duplicates: 'redelivered',
  attempts: 'counted',
  maxDeliveries: {},
  noticesDeathWithinMs: 1_000,
  atomicSends: true,
  atomicSettlements: true,
  livesWithinMs: 10_000,
  drainMsPerMessage: 0,
  settlesWithinMs: 10_000,
  earlyByMs: 2,
  expiredByMs: 1_000,
}
