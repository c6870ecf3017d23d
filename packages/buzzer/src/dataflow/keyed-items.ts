import { Ring } from './ring.ts'

interface Keyed {
  readonly key: unknown
}

/** Which keys are busy, and who waits for them: one item of a key at a time, in order. */
export class KeyedItems<I, C extends Keyed> {
  readonly #key: (item: I) => unknown
  /** Busy keys, each with the calls that wait for it. */
  readonly #busy: Map<unknown, Ring<C> | undefined> = new Map()
  /** Calls whose key has become theirs. */
  readonly #ready: Ring<C> = new Ring()
  /** Calls not yet started. */
  parked = 0

  constructor(key: (item: I) => unknown) {
    this.#key = key
  }

  get ready(): boolean {
    return this.#ready.size > 0
  }

  keyOf(item: I): unknown {
    return this.#key(item)
  }

  /** True: the key is busy, the call waits. False: the key is now this call's. */
  park(call: C): boolean {
    const { key } = call
    if (!this.#busy.has(key)) {
      this.#busy.set(key, undefined)
      return false
    }
    let line = this.#busy.get(key)
    if (line === undefined) {
      line = new Ring()
      this.#busy.set(key, line)
    }
    line.push(call)
    this.parked++
    return true
  }

  takeReady(): C {
    this.parked--
    return this.#ready.shift()
  }

  /** The call has ended. True: another of its key may start. */
  release(call: C): boolean {
    const line = this.#busy.get(call.key)
    if (line === undefined || line.size === 0) {
      this.#busy.delete(call.key)
      return false
    }
    this.#ready.push(line.shift())
    return true
  }

  clear(): void {
    this.#busy.clear()
    this.#ready.clear()
    this.parked = 0
  }
}
