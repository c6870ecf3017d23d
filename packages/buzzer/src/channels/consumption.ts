import { type Empty, empty } from './empty.ts'
import type { Outcome } from './errors.ts'
import { type ItemSource, Receiver } from './item-source.ts'
import { itemsPerTurn } from './turn.ts'

// Kept from load time, so that mocked timers do not stop a channel. The clock here measures the hold on the real event
// loop, which no virtual clock can tell.
const nextTurn = setImmediate
const nowMs = performance.now.bind(performance)

const holdMs = 10
/** Reading the clock costs as much as a cheap handler: with such, it is read once in so many items. */
const itemsPerClockReading = 16

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
}

/**
 * A running `consume`. Handlers run in promise reactions and immediates that were set up here, hence in the
 * `AsyncLocalStorage` context of the caller, and never inside a call on the writer.
 *
 *   pumping ── nothing there ──▶ blocked ── item handed over ──▶ pumping
 *      ├── all slots taken ──▶ full ── a handler settles ──▶ pumping
 *      ├── 1,024 items or 10 ms ──▶ yielding ── next turn ──▶ pumping
 *      └── end, failure, abort ──▶ stopping ── last handler settles ──▶ done
 */
export class Consumption<T> extends Receiver<T> {
  readonly done: Promise<void>
  readonly #source: ItemSource<T>
  readonly #handler: (item: T) => unknown
  readonly #concurrency: number
  /** Ours over the whole run: one listener for every blocked turn would cost more than the handler. */
  readonly #runSignal: AbortSignal | undefined
  readonly #onAbort: () => void
  #state: 'pumping' | 'blocked' | 'full' | 'yielding' = 'pumping'
  #running = 0
  #outcome: (() => void) | undefined = undefined
  #handed: T | Empty = empty
  #wake!: () => void
  #resolve!: () => void
  #reject!: (error: unknown) => void

  // What was held of the event loop's current turn.
  #items = 0
  #heldMs = 0
  #beganMs = 0
  #readMs = 0
  #stride = 1
  #untilReading = 1

  constructor(
    source: ItemSource<T>,
    handler: (item: T) => unknown,
    concurrency: number,
    signal: AbortSignal | undefined,
  ) {
    super(undefined)
    this.#source = source
    this.#handler = handler
    this.#concurrency = concurrency
    this.#runSignal = signal
    this.#onAbort = () => this.#fail(signal?.reason)
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    signal?.addEventListener('abort', this.#onAbort)
    this.#begin()
  }

  /** In line at once, so that a rendezvous can happen; the handler waits for the caller's turn to be over. */
  #begin(): void {
    try {
      this.#handed = this.#source.take()
    } catch (error) {
      this.#fail(error)
    }
    if (this.#handed !== empty || this.#outcome !== undefined) void Promise.resolve().then(() => this.#resume())
    else this.#block()
  }

  #block(): void {
    this.#state = 'blocked'
    this.#heldMs += nowMs() - this.#beganMs
    void new Promise<void>(resolve => {
      this.#wake = resolve
    }).then(() => this.#resume())
    this.#source.await(this)
  }

  #resume(): void {
    this.#beganMs = this.#readMs = nowMs()
    this.#pump()
  }

  #pump(): void {
    this.#state = 'pumping'
    if (this.#handed !== empty) {
      const item = this.#handed
      this.#handed = empty
      this.#run(item)
      if (this.#turnIsOver()) return this.#yield()
    }
    while (this.#outcome === undefined) {
      if (this.#running >= this.#concurrency) {
        this.#state = 'full'
        return
      }
      let item: T | Empty
      try {
        item = this.#source.take()
      } catch (error) {
        this.#fail(error)
        break
      }
      if (item === empty) return this.#block()
      this.#run(item)
      if (this.#turnIsOver()) return this.#yield()
    }
    this.#finish()
  }

  #yield(): void {
    this.#state = 'yielding'
    nextTurn(() => {
      this.#items = 0
      this.#heldMs = 0
      this.#resume()
    })
  }

  #run(item: T): void {
    let result: unknown
    try {
      result = this.#handler(item)
    } catch (error) {
      this.#fail(error)
      return
    }
    if (!isThenable(result)) return
    this.#running++
    Promise.resolve(result).then(this.#handlerDone, this.#handlerFailed)
  }

  readonly #handlerDone = (): void => {
    this.#running--
    if (this.#state === 'full') this.#pump()
    else if (this.#outcome !== undefined && this.#state === 'blocked') this.#finish()
  }

  readonly #handlerFailed = (error: unknown): void => {
    this.#fail(error)
    this.#handlerDone()
  }

  #turnIsOver(): boolean {
    return --this.#untilReading <= 0 && this.#readClock()
  }

  #readClock(): boolean {
    const now = nowMs()
    this.#items += this.#stride
    // Quick handlers are looked at ever more rarely, slow ones every time.
    this.#stride = now - this.#readMs < 0.25 ? Math.min(2 * this.#stride, itemsPerClockReading) : 1
    this.#untilReading = this.#stride
    this.#readMs = now
    return this.#items >= itemsPerTurn || this.#heldMs + now - this.#beganMs >= holdMs
  }

  #fail(error: unknown): void {
    this.#stop(() => this.#reject(error))
  }

  /** Takes nothing more. The first outcome counts. */
  #stop(settle: () => void): void {
    this.#outcome ??= settle
    if (this.line !== undefined) this.leave()
    if (this.#state === 'blocked') this.#finish()
  }

  #finish(): void {
    if (this.#running > 0 || this.#handed !== empty || this.#outcome === undefined) {
      // The last handler, or the pump with the item already handed over, comes back here.
      if (this.#handed === empty) this.#state = 'blocked'
      return
    }
    this.#runSignal?.removeEventListener('abort', this.#onAbort)
    this.#outcome()
  }

  deliver(item: T): void {
    this.leave()
    this.#handed = item
    this.#wake()
  }

  ended(outcome: Outcome): void {
    if (outcome.error === undefined) this.#stop(() => this.#resolve())
    else this.#fail(outcome.error)
  }

  broken(error: unknown): void {
    this.#fail(error)
  }

  aborted(): void {
    // Entered the line without a signal: aborts come through the run's own listener.
  }
}
