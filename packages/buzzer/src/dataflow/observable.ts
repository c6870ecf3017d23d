import { Channel } from '../channels/index.ts'
import type { Inlet, Source } from './block.ts'
import { outletOf } from './faces.ts'
import { isThenable } from './thenable.ts'
import type { Outlet } from './outlet.ts'
import { Task } from './turn.ts'

/** Who is told. A promise that `next` returns is waited for before the next item is taken. */
export interface Observer<T> {
  next?(item: T): unknown
  error?(error: unknown): void
  complete?(): void
}

/** The common shape of observables: RxJS takes it by `from(…)`, and then has no back-pressure. */
export interface Observable<T> {
  subscribe(observer: Observer<T>): { unsubscribe(): void }
  '@@observable'(): Observable<T>
}

/** Gives what a source gives to all observers present. Takes nothing while there are none. */
class Hub<O> implements Observable<O> {
  readonly #outlet: Outlet<O>
  readonly #observers: Set<Observer<O>> = new Set()
  readonly #task: Task = new Task(() => void this.#flow())
  #flowing = false
  #leave: () => void = () => {}

  constructor(outlet: Outlet<O>) {
    this.#outlet = outlet
  }

  subscribe(observer: Observer<O>): { unsubscribe(): void } {
    // An entry of its own: one observer may subscribe twice.
    const entry: Observer<O> = {
      next: item => observer.next?.(item),
      error: error => observer.error?.(error),
      complete: () => observer.complete?.(),
    }
    this.#observers.add(entry)
    this.#task.schedule()
    return {
      unsubscribe: () => {
        if (this.#observers.delete(entry) && this.#observers.size === 0) this.#leave()
      },
    }
  }

  '@@observable'(): Observable<O> {
    return this
  }

  async #flow(): Promise<void> {
    if (this.#flowing) return
    this.#flowing = true
    try {
      while (this.#observers.size > 0) {
        const item = this.#outlet.tryReceive()
        if (item !== Channel.empty) await this.#tell(item)
        else if (!(await this.#more())) return
      }
    } finally {
      this.#flowing = false
    }
  }

  /** Waits for an item, or until nobody observes any more. False: the source has ended, and the observers know. */
  async #more(): Promise<boolean> {
    const { life, takers } = this.#outlet
    if (life.ended) {
      this.#end(life.failed, life.error)
      return false
    }
    const hint = takers.hinted(undefined)
    const gone = new Promise<boolean>(resolve => {
      this.#leave = () => {
        hint.leave()
        resolve(true)
      }
    })
    // The end is looked at once more in the next round, when it is certain.
    await Promise.race([hint.promise.catch(() => true), gone])
    this.#leave = () => {}
    return true
  }

  async #tell(item: O): Promise<void> {
    const waits: PromiseLike<unknown>[] = []
    for (const observer of this.#observers) {
      try {
        const result = observer.next?.(item)
        if (isThenable(result)) waits.push(result)
      } catch (error) {
        this.#outlet.life.fault(error)
      }
    }
    for (const result of await Promise.allSettled(waits))
      if (result.status === 'rejected') this.#outlet.life.fault(result.reason)
  }

  #end(failed: boolean, error: unknown): void {
    const present = [...this.#observers]
    this.#observers.clear()
    for (const observer of present) {
      try {
        if (failed) observer.error?.(error)
        else observer.complete?.()
      } catch {
        // The source has ended: there is nobody left to tell, and the others are to be told all the same.
      }
    }
  }
}

const hubs = new WeakMap<object, Hub<never>>()

/**
 * The source as an observable: one hub per source, however often it is called. With observers there it takes an item,
 * gives it to every observer present, and takes the next only when all promises they returned have settled. An observer
 * that throws fails the source. Source: spec dataflow 2.5.
 */
export function asObservable<O>(source: Source<O>): Observable<O> {
  const outlet = outletOf(source)
  let hub = hubs.get(outlet) as Hub<O> | undefined
  if (hub === undefined) {
    hub = new Hub(outlet)
    hubs.set(outlet, hub as unknown as Hub<never>)
  }
  return hub
}

/** The target as an observer: `next` returns the promise of `send`. */
export function asObserver<I>(target: Inlet<I>): Required<Observer<I>> {
  return {
    next: item => target.send(item),
    error: error => target.fault(error),
    complete: () => void target.complete(),
  }
}
