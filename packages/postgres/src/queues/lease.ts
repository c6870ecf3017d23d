import type { StoredMessage } from './message-record.ts'

/** A message of a chunk, of the table `single`, or the head of a key. */
export type Place =
  | { readonly kind: 'chunk'; readonly chunk: ChunkLease; readonly index: number }
  | { readonly kind: 'single'; readonly rank: number; readonly lease: number }
  | {
      readonly kind: 'head'
      readonly queue: number
      readonly key: string
      readonly rank: number
      readonly lease: number
    }

/**
 * A chunk leased as a whole: messages `next` to `n - 1` of its row. What is settled is written as a bitmap that only the
 * lease's holder changes; `settled` is what the server has.
 */
export class ChunkLease {
  readonly rank: number
  readonly lease: number
  readonly next: number
  readonly n: number
  settled: Buffer
  done = 0
  constructor(rank: number, lease: number, next: number, n: number) {
    this.rank = rank
    this.lease = lease
    this.next = next
    this.n = n
    this.settled = Buffer.alloc(Math.ceil(n / 8))
  }
}

/** The part of a lease's time that its holder counts on: it stops believing in it before the server gives it to another. */
export const leaseTrust = 0.9

/** A message in our hands: what came of it, how often, and by which lease. */
export interface Held {
  readonly place: Place
  readonly message: StoredMessage
  readonly attempt: number
  /** Epoch milliseconds of our clock. */
  readonly enqueuedAt: number
  /** When the claim was sent, on our monotonic clock: the lease lasts from then on at least. */
  readonly leasedAt: number
  readonly dead: { readonly reason: string; readonly detail: string | undefined; readonly deadAt: number } | undefined
}
