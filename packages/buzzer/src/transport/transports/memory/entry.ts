import type { DeadLetterInfo, MessageState, OutgoingMessage } from '../../index.ts'
import type { HeapItem } from './binary-heap.ts'
import type { Lane, MemoryQueue } from './queue.ts'
import type { OpenDelivery } from './receiver.ts'
import type { Timer } from './timers.ts'

/** Where in its queue a ready entry stands. `returning`: given back in this turn, ready from the next one on. */
export type Spot = 'none' | 'ready' | 'lane' | 'returning'

/** One message in one queue. `rank` is its sequence: unique in the broker, rising in order of acceptance. */
export class Entry implements HeapItem {
  rank: number
  position = -1
  state: MessageState | 'gone' = 'ready'
  spot: Spot = 'none'
  queue: MemoryQueue
  readonly message: OutgoingMessage
  readonly bytes: number
  /** Counted deliveries, the open one included. */
  attempt = 0
  readonly enqueuedAt: number
  /** Wall clock: when it could first be delivered; its time to live runs from here. */
  availableAt: number
  /** Wall clock; `Infinity`: never. */
  expiresAt: number = Number.POSITIVE_INFINITY
  /** Wall clock: when a scheduled entry comes back. For peek; the timer decides. */
  dueAt: number | undefined
  lane: Lane | undefined
  /** Whether it stands outside its lane's waiting line, so that the lane waits for it. */
  isHead = false
  expiry: Timer | undefined
  due: Timer | undefined
  open: OpenDelivery | undefined
  deadLetter: DeadLetterInfo | undefined
  /** Deliveries from the source queue before it died; what peek shows of a dead letter. */
  attemptsBeforeDeath = 0

  constructor(rank: number, queue: MemoryQueue, message: OutgoingMessage, bytes: number, enqueuedAt: number) {
    this.rank = rank
    this.queue = queue
    this.message = message
    this.bytes = bytes
    this.enqueuedAt = enqueuedAt
    this.availableAt = enqueuedAt
  }
}
