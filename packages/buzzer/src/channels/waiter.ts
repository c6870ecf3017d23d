/**
 * A caller in line. The links are part of the caller itself, so that an abort takes it out in one step whatever the
 * length of the line.
 *
 *   created ── enter(line) ──▶ waiting ── leave() ──▶ out   (by service, end, abort or the caller's own choice)
 *
 * It is its own abort listener, and listens only while it waits.
 */
export abstract class Waiter {
  previous: Waiter | undefined = undefined
  next: Waiter | undefined = undefined
  line: WaiterLine<Waiter> | undefined = undefined
  readonly signal: AbortSignal | undefined

  constructor(signal: AbortSignal | undefined) {
    this.signal = signal
  }

  /** The caller's signal was aborted while it waited; it is out of the line already. */
  abstract aborted(reason: unknown): void

  leave(): void {
    if (this.line === undefined) return
    this.line.remove(this)
    this.signal?.removeEventListener('abort', this)
  }

  handleEvent(): void {
    this.leave()
    this.aborted(this.signal?.reason)
  }
}

/** First come, first served. */
export class WaiterLine<W extends Waiter> {
  head: W | undefined = undefined
  #tail: W | undefined = undefined
  size = 0
  /** Called when one has left. */
  onLeave: (() => void) | undefined = undefined

  enter(waiter: W): void {
    waiter.line = this as unknown as WaiterLine<Waiter>
    const tail = this.#tail
    if (tail === undefined) this.head = waiter
    else {
      tail.next = waiter
      waiter.previous = tail
    }
    this.#tail = waiter
    this.size++
    waiter.signal?.addEventListener('abort', waiter)
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
    this.size--
    this.onLeave?.()
  }
}
