/**
 * What the processes of a run saw, each in its own words: a record is written before what it tells of goes on, so a kill
 * loses none. `at` is a monotonic clock in milliseconds that all processes of the run share; `wall` is the wall clock,
 * epoch milliseconds. Records of one process stand in the order in which it wrote them; those of different processes may
 * be mixed in any way. Source: spec broker 14.
 */
export type HistoryRecord =
  | LifeRecord
  | FaultRecord
  | SendRecord
  | SentRecord
  | BegunRecord
  | AnsweredRecord
  | DeliveryRecord
  | OperationRecord
  | OperatedRecord
  | EpochRecord
  | PresentRecord
  | PresentStateRecord
  | PhaseRecord

/** A message as its sender meant it; one for each queue that must get a copy. An id is used once in a queue. */
export interface HistoryMessage {
  readonly id: string
  readonly queue: string
  /** Over everything that must arrive unchanged: see `digestOf`. */
  readonly hash: string
  readonly key?: string
  /** Not delivered before. Epoch milliseconds. */
  readonly due?: number
  /** Not delivered from then on, and free to vanish. Epoch milliseconds. */
  readonly expires?: number
  /** Equal keys that this queue accepted within the window are one message. */
  readonly deduplicate?: { readonly key: string; readonly windowMs: number }
}

/** A process of the run began or ended in good order. Its other records carry the same `process`, a name used once. */
export interface LifeRecord {
  readonly as: 'born' | 'ended'
  readonly process: string
  readonly at: number
}

/**
 * What was done to the run, written by who did it, before it was done.
 *
 * - `killed`: before the signal is sent. `dead`: its death was seen; it fell somewhere between the two.
 * - `stopped` and `continued`: SIGSTOP and SIGCONT (`what: 'process'`), or an event loop that is blocked (`'loop'`).
 * - `jumped`: the wall clock of all processes was set to another time.
 * - `cut`: the connection of a process (without one: of all) to the broker is severed, or the broker restarted.
 */
export type FaultRecord =
  | { readonly as: 'killed' | 'dead'; readonly process: string; readonly at: number }
  | {
      readonly as: 'stopped' | 'continued'
      readonly process: string
      readonly at: number
      readonly what: 'process' | 'loop'
    }
  | { readonly as: 'cut'; readonly process?: string; readonly at: number }
  | { readonly as: 'jumped'; readonly at: number; readonly byMs: number }

/** A send call begins. Without a `sent` record its outcome is unknown. */
export interface SendRecord {
  readonly as: 'send'
  readonly process: string
  readonly at: number
  /** Unique in its process. */
  readonly call: number
  readonly messages: readonly HistoryMessage[]
  /** State records of the same step; ids used once in the run. */
  readonly records?: readonly string[]
}

export type Outcome = 'ok' | 'fail' | 'unknown'

/** The end of a send call. `fail`: nothing was stored, the broker says. */
export interface SentRecord {
  readonly as: 'sent'
  readonly process: string
  readonly at: number
  readonly wall?: number
  readonly call: number
  readonly outcome: Outcome
  /** Of each message, where the broker accepts parts of an array; in the order of `messages`. */
  readonly outcomes?: readonly Outcome[]
}

/** A handler is called. */
export interface BegunRecord {
  readonly as: 'begun'
  readonly process: string
  readonly at: number
  readonly wall: number
  readonly id: string
  readonly queue: string
  readonly hash: string
  /** From 1. */
  readonly attempt: number
  readonly key?: string
}

/** A handler has answered; whether the broker applied it, nobody has said. */
export interface AnsweredRecord {
  readonly as: 'answered'
  readonly process: string
  readonly at: number
  readonly id: string
  readonly queue: string
  readonly attempt: number
  readonly how: 'ack' | 'retry' | 'dead-letter' | 'release' | 'park'
  /** Of a `retry`: the least time until the next delivery. */
  readonly delayMs?: number
  /** Sent in the same step; ids used once in the run, so the attempt is part of them. */
  readonly outputs?: readonly HistoryMessage[]
  /** State records of the same step; ids used once in the run. */
  readonly records?: readonly string[]
  /** All `size` answers of one group are one step. */
  readonly group?: { readonly id: string; readonly size: number }
}

/** `refused`: the broker has applied nothing of the last answer. `lost`: it says that the lock is lost. */
export interface DeliveryRecord {
  readonly as: 'refused' | 'lost'
  readonly process: string
  readonly at: number
  readonly id: string
  readonly queue: string
  readonly attempt: number
}

/** An operator's step begins. Without `ids` it means the whole queue. */
export interface OperationRecord {
  readonly as: 'operation'
  readonly process: string
  readonly at: number
  /** Unique in its process, among the operations. */
  readonly call: number
  readonly op: 'cancel' | 'purge' | 'delete' | 'redrive' | 'unpark'
  readonly queue: string
  readonly ids?: readonly string[]
}

/** The end of an operator's step. A `cancel` is `ok` when it took effect. */
export interface OperatedRecord {
  readonly as: 'operated'
  readonly process: string
  readonly at: number
  readonly call: number
  readonly outcome: Outcome
}

/** The owner's epoch, asked for at `since`, answered at `at`. */
export interface EpochRecord {
  readonly as: 'epoch'
  readonly process: string
  readonly since: number
  readonly at: number
  readonly epoch: number
}

/**
 * After the run, when no delivery is open: what is still there, dead letters included. Of one queue in the order in which
 * it will be delivered.
 */
export interface PresentRecord {
  readonly as: 'present'
  readonly id: string
  /** The queue that it was sent to, for a dead letter too. */
  readonly queue: string
  readonly state: 'ready' | 'locked' | 'scheduled' | 'parked' | 'dead'
  readonly hash: string
  readonly key?: string
  /** Deliveries so far. */
  readonly attempt?: number
  /** The broker has found its bytes damaged, said so, and delivers it no more: it may be any message. */
  readonly isDamaged?: true
}

/** After the run: a state record that is there. */
export interface PresentStateRecord {
  readonly as: 'record'
  readonly id: string
}

/**
 * `quiet`: the faults have ended, from here on everything must settle; so many messages are `waiting`. `drained`: `left` messages still wait (0: all done).
 * `probe`: how a send after the faults went.
 */
export type PhaseRecord =
  | { readonly as: 'quiet'; readonly at: number; readonly waiting?: number }
  | { readonly as: 'drained'; readonly at: number; readonly left: number }
  | { readonly as: 'probe'; readonly at: number; readonly outcome: 'ok' | 'fail' }

/** The records of one kind, or of some. */
export type RecordOf<K extends HistoryRecord['as'], R = HistoryRecord> = R extends { readonly as: infer A }
  ? [A & K] extends [never]
    ? never
    : R & { readonly as: A & K }
  : never

/** All records of some kinds, in their order. */
export function recordsOf<K extends HistoryRecord['as']>(
  history: readonly HistoryRecord[],
  ...kinds: readonly K[]
): RecordOf<K>[] {
  return history.filter((record): record is HistoryRecord & RecordOf<K> => kinds.includes(record.as as K))
}
