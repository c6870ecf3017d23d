import type { Clock } from './clock.ts'
import { type Empty, empty } from './empty.ts'
import type { Outcome } from './errors.ts'
import { type ItemSource, Receiver } from './item-source.ts'

export interface BatchPlan {
  readonly max: number
  readonly maxWaitMs: number
  readonly clock: Clock
  readonly signal: AbortSignal | undefined
}

/**
 * A `next()` that collects. It keeps its place at the head of the line until the batch is full or its time is up:
 *
 *   empty ── first item, timer starts ──▶ collecting ── full, time up, end, abort or return ──▶ delivered
 *     └── end, abort or return ──▶ told
 */
class BlockedBatch<T> extends Receiver<T> {
  readonly promise: Promise<IteratorResult<T[]>>
  readonly iterator: BatchIterator<T>
  readonly #source: ItemSource<T>
  readonly #plan: BatchPlan
  readonly #batch: T[] = []
  #timer: unknown = undefined
  #timed = false
  #resolve!: (result: IteratorResult<T[]>) => void
  #reject!: (error: unknown) => void

  constructor(iterator: BatchIterator<T>, source: ItemSource<T>, plan: BatchPlan) {
    super(plan.signal)
    this.iterator = iterator
    this.#source = source
    this.#plan = plan
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  deliver(item: T): void {
    this.#batch.push(item)
    // Out of the line it may take more than it was handed.
    if (this.#plan.maxWaitMs === 0) this.leave()
    this.collect()
  }

  /** Takes what is there, and either answers or goes on waiting. */
  collect(): void {
    const { max, maxWaitMs, clock } = this.#plan
    const batch = this.#batch
    for (let item: T | Empty; batch.length < max && (item = this.#source.take()) !== empty; ) batch.push(item)
    if (batch.length === max || (batch.length > 0 && maxWaitMs === 0)) {
      this.leave()
      this.cut()
    } else if (batch.length > 0 && !this.#timed) {
      this.#timed = true
      if (maxWaitMs !== Infinity) {
        this.#timer = clock.setTimeout(() => {
          this.#timer = undefined
          this.leave()
          this.cut()
        }, maxWaitMs)
      }
    }
  }

  get answered(): boolean {
    return this.#answered
  }
  #answered = false

  /** Answers with what has been collected; whether there was anything. */
  cut(): boolean {
    if (this.#timer !== undefined) this.#plan.clock.clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#batch.length === 0) return false
    this.#answered = true
    this.#source.turn.tell(this.#resolve, { value: this.#batch, done: false }, this.#batch.length)
    return true
  }

  finish(): void {
    if (!this.cut()) this.#resolve({ value: undefined, done: true })
  }

  ended(outcome: Outcome): void {
    if (this.cut()) return
    const first = this.iterator.finish()
    if (first && outcome.error !== undefined) this.#reject(outcome.error)
    else this.#resolve({ value: undefined, done: true })
  }

  broken(error: unknown): void {
    this.iterator.breakDown(error)
    this.ended({ error })
  }

  aborted(reason: unknown): void {
    this.ended({ error: reason })
  }
}

/** The loop over a reader in batches. Items already taken are always delivered, before an end, error or abort is told. */
export class BatchIterator<T> implements AsyncIterableIterator<T[], undefined> {
  readonly #source: ItemSource<T>
  readonly #plan: BatchPlan
  #done = false
  #broken: Outcome | undefined = undefined

  constructor(source: ItemSource<T>, plan: BatchPlan) {
    this.#source = source
    this.#plan = plan
  }

  next(): Promise<IteratorResult<T[], undefined>> {
    if (this.#done) return Promise.resolve({ value: undefined, done: true })
    const signal = this.#plan.signal
    if (signal?.aborted || this.#broken !== undefined) {
      this.#done = true
      return Promise.reject(this.#broken === undefined ? signal?.reason : this.#broken.error)
    }
    const blocked = new BlockedBatch(this, this.#source, this.#plan)
    try {
      blocked.collect()
    } catch (error) {
      blocked.broken(error)
      return blocked.promise
    }
    if (!blocked.answered) this.#source.await(blocked)
    return blocked.promise
  }

  return(): Promise<IteratorResult<T[], undefined>> {
    this.finish()
    let receiver = this.#source.receivers.head
    while (receiver !== undefined) {
      const next = receiver.next as Receiver<T> | undefined
      if (receiver instanceof BlockedBatch && receiver.iterator === this) {
        receiver.leave()
        receiver.finish()
      }
      receiver = next
    }
    return Promise.resolve({ value: undefined, done: true })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  finish(): boolean {
    const first = !this.#done
    this.#done = true
    return first
  }

  /** The source failed outside its completion: told by the following `next()`. */
  breakDown(error: unknown): void {
    this.#broken = { error }
  }
}
