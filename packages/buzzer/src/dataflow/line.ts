/** Somebody in a line. The links are part of it, so that it leaves in one step whatever the length of the line. */
export abstract class Waiter {
  previous: Waiter | undefined = undefined
  next: Waiter | undefined = undefined
  line: Line<Waiter> | undefined = undefined

  leave(): void {
    this.line?.remove(this)
  }
}

/** First come, first served. */
export class Line<W extends Waiter> {
  head: W | undefined = undefined
  #tail: W | undefined = undefined

  enter(waiter: W): void {
    waiter.line = this as unknown as Line<Waiter>
    const tail = this.#tail
    if (tail === undefined) this.head = waiter
    else {
      tail.next = waiter
      waiter.previous = tail
    }
    this.#tail = waiter
  }

  remove(waiter: W): void {
    const previous = waiter.previous as W | undefined
    const next = waiter.next as W | undefined
    if (previous === undefined) this.head = next
    else previous.next = next
    if (next === undefined) this.#tail = previous
    else next.previous = previous
    waiter.previous = undefined
    waiter.next = undefined
    waiter.line = undefined
  }
}

/**
 * A caller whose promise waits in a line. It is its own abort listener, and listens only while it waits: an abort takes
 * it out of the line and rejects with the signal's reason.
 */
export class Caller<V> extends Waiter {
  readonly promise: Promise<V>
  readonly resolve: (value: V) => void
  readonly reject: (reason: unknown) => void
  readonly #signal: AbortSignal | undefined

  constructor(signal: AbortSignal | undefined) {
    super()
    const { promise, resolve, reject } = Promise.withResolvers<V>()
    this.promise = promise
    this.resolve = resolve
    this.reject = reject
    this.#signal = signal
    signal?.addEventListener('abort', this)
  }

  override leave(): void {
    super.leave()
    this.#signal?.removeEventListener('abort', this)
  }

  handleEvent(): void {
    this.leave()
    this.reject(this.#signal?.reason)
  }
}
