import type { OrderBy } from './transport.ts'

/** What should exist. What is left out of a queue's options means "as it is, or the default" and never conflicts. */
export interface Topology {
  readonly queues: readonly QueueDeclaration[]
  readonly topics: readonly TopicDeclaration[]
  readonly bindings: readonly BindingDeclaration[]
}

export interface QueueDeclaration extends QueueLimits {
  readonly name: string
}

/** Source: spec broker 3. All optional. */
export interface QueueLimits {
  /** Default `none`. */
  readonly orderBy?: OrderBy
  /** Deliveries of one message before the broker dead-letters it as `max-deliveries-exceeded`. Default 10. */
  readonly maxDeliveries?: number
  /** Default and ceiling of a message's time to live. Default: none. */
  readonly ttlMs?: number
  /** Expired messages become dead letters with reason `expired` instead of vanishing. Default `false`. */
  readonly deadLetterExpired?: boolean
  /** Dead letters older than this are deleted. Default: never. */
  readonly deadLetterTtlMs?: number
  /** Window in which a `deduplicationKey` is accepted once. Default 0: off. At most 7 days. */
  readonly deduplicationWindowMs?: number
  /** Everything in the queue counts, dead letters too. Default: none. */
  readonly maxMessages?: number
  readonly maxBytes?: number
  /** The queue is deleted after that long without receiver, send, declare or admin change. Default: never. */
  readonly expiresAfterIdleMs?: number
}

export interface TopicDeclaration {
  readonly name: string
  /** Topics whose subscribers also get what is published here. */
  readonly bases: readonly string[]
}

export interface BindingDeclaration {
  readonly topic: string
  readonly queue: string
  /** The topic of a command or request has one queue: a second exclusive binding elsewhere conflicts. */
  readonly exclusive: boolean
  readonly match?: Match
}

/** All parts given must be present and exactly equal. */
export interface Match {
  readonly key?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** The name of the dead-letter queue that exists with `queue`. It can be received from, peeked and counted, not declared or sent to. */
export function deadLetterQueue(queue: string): string {
  return `${queue}.dead`
}
