import { Expansion, iteratorOf } from './expansion.ts'
import type { Call } from './call.ts'
import type { FunctionStage } from './function-stage.ts'
import type { Life } from './life.ts'
import { Line } from './line.ts'
import type { QueueOutlet } from './queue-outlet.ts'
import type { Results } from './results.ts'
import { Ring } from './ring.ts'

export interface ExpansionsOptions {
  readonly capacity: number
  readonly ordered: boolean
}

/**
 * The results of a transform-many block: pulls the iterators lazily, up to `parallel` of them at once, and pauses each
 * while `capacity` of its own outputs are in the block.
 */
export class Expansions<I, O> implements Results<I, Expansion<I, O>> {
  stage!: FunctionStage<I, Expansion<I, O>>
  outlet!: QueueOutlet<O>
  readonly #life: Life
  readonly #capacity: number
  readonly #ordered: boolean
  /** In input order, from the first whose outputs have not all gone out. */
  readonly #order: Line<Expansion<I, O>> = new Line()
  /** Whose iterators are open. */
  readonly #open: Set<Expansion<I, O>> = new Set()
  /** Whose synchronous iterators can be pulled now. */
  readonly #pullable: Ring<Expansion<I, O>> = new Ring()
  /** Of which item the outputs in the outlet are. */
  readonly #owners: Ring<Expansion<I, O>> = new Ring()
  /** Outputs in the block whose iterators have ended. */
  #left = 0
  /** Outputs that wait for those of earlier items. */
  #held = 0

  constructor(life: Life, options: ExpansionsOptions) {
    this.#life = life
    this.#capacity = options.capacity
    this.#ordered = options.ordered
  }

  get empty(): boolean {
    return this.#held === 0 && this.#open.size === 0
  }

  /** What ended iterators have left in the block counts against new ones: else a block of few items could hold any number. */
  get mayStart(): boolean {
    return this.#left < this.#capacity
  }

  place(call: Call<I, Expansion<I, O>>): void {
    const expansion = new Expansion<I, O>(call)
    call.more = expansion
    if (this.#ordered) this.#order.enter(expansion)
  }

  value(call: Call<I, Expansion<I, O>>, many: unknown): boolean {
    const place = expansionOf(call)
    try {
      place.array = undefined
      if (Array.isArray(many) && many.length > 0) {
        place.array = many as readonly O[]
        place.taken = 0
        this.#open.add(place)
        this.#pull(place)
        return false
      }
      const found = iteratorOf<O>(many)
      if (found === undefined) {
        this.#end(place)
        return false
      }
      place.iterator = found.iterator
      place.asynchronous = found.asynchronous
    } catch (error) {
      this.stage.fail(place.call, error)
      return false
    }
    this.#open.add(place)
    if (this.#life.failed) this.#close(place)
    else this.#pull(place)
    return false
  }

  nothing(call: Call<I, Expansion<I, O>>): void {
    this.#finish(expansionOf(call))
  }

  mayRetry(call: Call<I, Expansion<I, O>>): boolean {
    return expansionOf(call).given === 0
  }

  /** Goes on with the iterators that can be pulled now. */
  work(): void {
    for (let left = this.#pullable.size; left > 0 && !this.#life.failed; left--) this.#pull(this.#pullable.shift())
  }

  /** An output has left the block. */
  freed(): void {
    const expansion = this.#owners.shift()
    expansion.inBlock--
    this.stage.intake.owned--
    if (expansion.ended) {
      if (this.#left-- === this.#capacity) this.#life.task.schedule()
    } else if (expansion.paused && expansion.inBlock < this.#capacity) {
      expansion.paused = false
      this.#pullable.push(expansion)
      this.#life.task.schedule()
    }
  }

  /** Closes the iterators, drops what is held, and says how much that was. */
  drop(): number {
    const held = this.#held
    this.#held = 0
    this.#left = 0
    this.#pullable.clear()
    this.#owners.clear()
    for (let first = this.#order.head; first !== undefined; first = this.#order.head) first.leave()
    for (const expansion of this.#open) if (!expansion.onStack) this.#close(expansion)
    return held
  }

  #pull(expansion: Expansion<I, O>): void {
    if (expansion.array !== undefined) this.#pullArray(expansion, expansion.array)
    else if (expansion.asynchronous) this.#pullNext(expansion)
    else this.#pullIterator(expansion)
  }

  #pullArray(expansion: Expansion<I, O>, array: readonly O[]): void {
    while (expansion.inBlock < this.#capacity) {
      if (this.#life.task.spent()) {
        this.#pullable.push(expansion)
        return
      }
      if (expansion.taken < array.length) this.#output(expansion, array[expansion.taken++] as O)
      if (expansion.taken >= array.length) {
        this.#end(expansion)
        return
      }
    }
    expansion.paused = true
  }

  #pullIterator(expansion: Expansion<I, O>): void {
    const { call } = expansion
    const iterator = expansion.iterator as Iterator<O>
    while (expansion.inBlock < this.#capacity) {
      if (this.#life.task.spent()) {
        this.#pullable.push(expansion)
        return
      }
      let step: IteratorResult<O>
      expansion.onStack = true
      try {
        step = iterator.next()
        expansion.onStack = false
      } catch (error) {
        expansion.onStack = false
        this.#open.delete(expansion)
        this.stage.fail(call, error)
        return
      }
      if (this.#life.failed) {
        this.#close(expansion)
        return
      }
      if (step.done === true) {
        this.#end(expansion)
        return
      }
      this.#output(expansion, step.value)
    }
    expansion.paused = true
  }

  /** One output of an async iterator after the other: it is never asked for more than it has room for. */
  #pullNext(expansion: Expansion<I, O>): void {
    let pulling: Promise<IteratorResult<O>>
    try {
      pulling = Promise.resolve((expansion.iterator as AsyncIterator<O>).next())
    } catch (error) {
      this.#broken(expansion, error)
      return
    }
    expansion.pulling = pulling
    pulling.then(
      step => {
        expansion.pulling = undefined
        this.#life.task.wake()
        // A failed block closes its iterators by itself, and waits for this step.
        if (this.#life.failed) {
          this.#life.task.runNow()
          return
        }
        if (step.done === true) this.#end(expansion)
        else {
          this.#output(expansion, step.value)
          if (expansion.inBlock >= this.#capacity) expansion.paused = true
          else if (this.#life.task.spent()) this.#pullable.push(expansion)
          else this.#pullNext(expansion)
        }
        this.#life.task.runNow()
      },
      error => {
        expansion.pulling = undefined
        if (!this.#life.failed) this.#broken(expansion, error)
      },
    )
  }

  #broken(expansion: Expansion<I, O>, error: unknown): void {
    this.#open.delete(expansion)
    this.stage.fail(expansion.call, error)
    this.#life.task.schedule()
  }

  #output(expansion: Expansion<I, O>, item: O): void {
    expansion.given++
    expansion.inBlock++
    this.stage.intake.owned++
    if (!this.#ordered || this.#order.head === expansion) this.#emit(expansion, item)
    else {
      this.#held++
      expansion.held.push(item)
    }
  }

  #emit(expansion: Expansion<I, O>, item: O): void {
    this.#owners.push(expansion)
    this.outlet.emit(item)
  }

  #end(expansion: Expansion<I, O>): void {
    this.#open.delete(expansion)
    this.#finish(expansion)
    this.stage.finish(expansion.call)
    this.#life.task.schedule()
  }

  /** Nothing more comes of the item; the next one's outputs may be due. */
  #finish(expansion: Expansion<I, O>): void {
    expansion.ended = true
    this.#left += expansion.inBlock
    this.stage.intake.owned--
    if (!this.#ordered) return
    for (let first = this.#order.head; first?.ended === true; first = this.#order.head) {
      first.leave()
      const next = this.#order.head
      if (next === undefined) return
      while (next.held.size > 0) {
        this.#held--
        this.#emit(next, next.held.shift())
      }
    }
  }

  /** The block has failed: the iterator is told to end, and waited for. */
  #close(expansion: Expansion<I, O>): void {
    if (!this.#open.delete(expansion)) return
    if (expansion.array === undefined && expansion.asynchronous) void this.#closeAsync(expansion)
    else {
      try {
        ;(expansion.iterator as Iterator<O> | undefined)?.return?.()
      } catch (error) {
        this.#life.faultWith(error, expansion.call.item)
      }
      this.#closed()
    }
  }

  async #closeAsync({ iterator, pulling, call }: Expansion<I, O>): Promise<void> {
    const closing = async (): Promise<unknown> => (iterator as AsyncIterator<O>).return?.()
    for (const step of await Promise.allSettled([closing(), pulling]))
      if (step.status === 'rejected') this.#life.faultWith(step.reason, call.item)
    this.#closed()
  }

  #closed(): void {
    this.stage.running--
    this.#life.discarded++
    this.#life.check()
  }
}

function expansionOf<I, O>(call: Call<I, Expansion<I, O>>): Expansion<I, O> {
  return call.more as Expansion<I, O>
}
