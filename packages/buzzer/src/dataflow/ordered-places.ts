import type { Call } from './call.ts'
import { Line } from './line.ts'

/** Gives values out in the order in which their calls were made, whatever is ready first. */
export class OrderedPlaces<V> {
  readonly #line: Line<Call<unknown, unknown>> = new Line()
  readonly #out: (value: V) => void
  /** Values that wait for earlier ones. */
  held = 0

  constructor(out: (value: V) => void) {
    this.#out = out
  }

  get empty(): boolean {
    return this.#line.head === undefined
  }

  take(call: Call<unknown, unknown>): void {
    this.#line.enter(call)
  }

  fill(call: Call<unknown, unknown>, value: V): void {
    call.ready = true
    call.value = value
    this.held++
    this.#flush()
  }

  /** Nothing comes of this call. */
  vacate(call: Call<unknown, unknown>): void {
    call.leave()
    this.#flush()
  }

  /** Drops what is held, and says how much that was. */
  drop(): number {
    const { held } = this
    this.held = 0
    for (let call = this.#line.head; call !== undefined; call = this.#line.head) call.leave()
    return held
  }

  #flush(): void {
    for (let call = this.#line.head; call?.ready === true; call = this.#line.head) {
      call.leave()
      this.held--
      this.#out(call.value as V)
    }
  }
}
