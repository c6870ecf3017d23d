/** How acknowledgements leave. */
export interface AckSink {
  /** Acknowledges `tag` and everything before it. */
  ackUpTo(tag: number): void
  ackOne(tag: number): void
}

/**
 * The open deliveries of one channel, and those that are handled but not yet acknowledged. A flush acknowledges what is
 * contiguous with one frame, and what a slower delivery stands before one by one: neither holds up the other.
 * Delivery tags come in rising order.
 */
export class AckWindow<T> {
  readonly #open = new Map<number, T>()
  #handled: number[] = []
  /** Settled here, but not yet at the server: no acknowledgement of what came later may cover them. */
  #releasing: number[] = []

  get openCount(): number {
    return this.#open.size
  }

  get unflushed(): number {
    return this.#handled.length
  }

  open(tag: number, delivery: T): void {
    this.#open.set(tag, delivery)
  }

  deliveries(): Iterable<T> {
    return this.#open.values()
  }

  /** To be acknowledged with the next flush. False when the tag is not open: settled before, or lost. */
  handled(tag: number): boolean {
    if (!this.#open.delete(tag)) return false
    this.#handled.push(tag)
    return true
  }

  /** To be given back with the next `takeReleases`. */
  release(tag: number): boolean {
    if (!this.#open.delete(tag)) return false
    this.#releasing.push(tag)
    return true
  }

  /** Came when nobody wanted it any more. */
  unwanted(tag: number): void {
    this.#releasing.push(tag)
  }

  /** What is to be given back now. */
  takeReleases(): readonly number[] {
    const releasing = this.#releasing
    this.#releasing = []
    return releasing
  }

  /** Settled in another way, by a frame of its own that has left already or leaves now. */
  gone(tag: number): boolean {
    return this.#open.delete(tag)
  }

  flush(sink: AckSink): void {
    const handled = this.#handled
    if (handled.length === 0) return
    this.#handled = []
    // A map remembers the order of insertion: the first is the lowest open tag.
    let lowestOpen = this.#open.keys().next().value ?? Number.POSITIVE_INFINITY
    for (const tag of this.#releasing) if (tag < lowestOpen) lowestOpen = tag
    let upTo = 0
    let below = 0
    for (const tag of handled) {
      if (tag < lowestOpen) {
        below++
        if (tag > upTo) upTo = tag
      } else sink.ackOne(tag)
    }
    if (below === 1) sink.ackOne(upTo)
    else if (below > 1) sink.ackUpTo(upTo)
  }

  /** The channel is gone, and every lock with it. Answers what was open. */
  clear(): readonly T[] {
    const lost = [...this.#open.values()]
    this.#open.clear()
    this.#handled = []
    this.#releasing = []
    return lost
  }
}
