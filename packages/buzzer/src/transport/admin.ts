import type { DeadLetterInfo } from './transport.ts'
import type { Match, QueueLimits } from './topology.ts'

/** Where a message stands in its queue. `parked`: set aside by hand. */
export type MessageState = 'ready' | 'locked' | 'scheduled' | 'parked' | 'dead'

export interface QueueFigures {
  readonly name: string
  readonly options: QueueLimits
  readonly ready: number
  readonly locked: number
  readonly scheduled: number
  readonly parked: number
  readonly dead: number
  readonly bytes: number
  readonly receivers: number
  /** Epoch milliseconds. */
  readonly oldestReadyAt?: number
  /** Figures that this broker cannot tell, or not for other processes: they are lower bounds. Default: none. */
  readonly unknown?: readonly ('locked' | 'scheduled' | 'parked' | 'dead' | 'bytes' | 'receivers')[]
}

export interface PeekedMessage {
  /** The broker's own id, which `redrive`, `deleteDead` and `unpark` take. Rises in order of acceptance. */
  readonly id: string
  readonly messageId: string
  readonly state: MessageState
  readonly attempt: number
  readonly enqueuedAt: number
  readonly dueAt?: number
  readonly expiresAt?: number
  readonly key?: string
  readonly priority: number
  readonly attributes: Readonly<Record<string, string>>
  readonly headers: Readonly<Record<string, string>>
  readonly contentType?: string
  readonly body: Uint8Array
  readonly deadLetter?: DeadLetterInfo
}

/** One look at a broker's health, beyond its queues. */
export interface Finding {
  readonly what: string
  readonly verdict: 'ok' | 'warning' | 'problem'
  readonly detail: string
}

/**
 * What an operator may ask of a broker. A call that a broker cannot serve is absent.
 * On a queue that does not exist all calls reject with `BUZZER_QUEUE_NOT_FOUND`. Source: spec broker 1, 8.
 */
export interface TransportAdmin {
  queues(): Promise<readonly QueueFigures[]>
  queue(name: string): Promise<QueueFigures>
  /** In queue order. Never locks, counts or delays a delivery. Default: every state, limit 50, at most 1,000. */
  peek?(
    queue: string,
    options?: { state?: MessageState; after?: string; limit?: number },
  ): Promise<{ readonly items: readonly PeekedMessage[]; readonly next?: string }>
  /** Removes what is not locked. Default state `ready`. Resolves to the count. */
  purge?(queue: string, options?: { state?: MessageState; before?: number }): Promise<number>
  /** Moves dead letters to the end of the queue (or of `to`): same id, headers, key, body; attempt 1; `redrives` + 1. */
  redrive?(queue: string, options?: { ids?: readonly string[]; limit?: number; to?: string }): Promise<number>
  deleteDead?(queue: string, options?: { ids?: readonly string[] }): Promise<number>
  /** True when the message will never be delivered; false when it was due, cancelled or is unknown. */
  cancelScheduled?(messageId: string): Promise<boolean>
  unpark?(queue: string, ids: readonly string[]): Promise<number>
  /** Changes options on purpose, at once, for all processes. */
  alter?(queue: string, options: QueueLimits): Promise<void>
  deleteQueue?(queue: string): Promise<void>
  bind?(topic: string, queue: string, match?: Match): Promise<void>
  unbind?(topic: string, queue: string): Promise<void>
  /** The queues bound to a topic, its bases left aside. */
  bindings?(
    topic: string,
  ): Promise<readonly { readonly queue: string; readonly exclusive: boolean; readonly match?: Match }[]>
  /** What holds the broker up or soon will: limits that are near, what others do to it. `buzzer doctor` prints it. */
  examine?(): Promise<readonly Finding[]>
}
