import type { Clock } from './clock.ts'
import { processClock } from './clock.ts'
import { type Empty, empty } from './empty.ts'
import { BlockedNext } from './item-iterator.ts'
import type { ItemSource, Loop, Receiver } from './item-source.ts'
import { Turn } from './turn.ts'
import { WaiterLine } from './waiter.ts'

/** What polling needs of a custom reader. */
interface Polled<T> {
  tryRead(): T | Empty
  waitToRead(options?: { signal?: AbortSignal }): Promise<boolean>
}

/**
 * Makes blocked callers out of a reader that only has try and wait: one wait for all of them, served in the order in
 * which they came. Nobody in line, nobody waits at the reader.
 */
export class PolledSource<T> implements ItemSource<T> {
  readonly name: string | undefined = undefined
  readonly turn: Turn = new Turn()
  readonly clock: Clock = processClock
  readonly receivers: WaiterLine<Receiver<T>> = new WaiterLine<Receiver<T>>()
  readonly #reader: Polled<T>
  #polling: AbortController | undefined = undefined

  constructor(reader: Polled<T>) {
    this.#reader = reader
    this.receivers.onLeave = () => {
      if (this.receivers.size > 0) return
      this.#polling?.abort()
      this.#polling = undefined
    }
  }

  take(): T | Empty {
    return this.receivers.size === 0 ? this.#reader.tryRead() : empty
  }

  await(receiver: Receiver<T>): void {
    this.receivers.enter(receiver)
    if (this.#polling === undefined) void this.#poll((this.#polling = new AbortController()))
  }

  awaitNext(loop: Loop, resolve: (result: IteratorResult<T>) => void, reject: (error: unknown) => void): void {
    this.await(new BlockedNext(loop, this, undefined, resolve, reject))
  }

  async #poll(polling: AbortController): Promise<void> {
    try {
      while (await this.#reader.waitToRead({ signal: polling.signal })) {
        if (this.#polling !== polling) return
        this.#serve()
        // oxlint-disable-next-line typescript/no-unnecessary-condition -- serving the last one ends the polling
        if (this.#polling !== polling) return
      }
    } catch (error) {
      if (this.#polling === polling) this.#end(receiver => receiver.ended({ error }))
      return
    }
    if (this.#polling === polling) this.#end(receiver => receiver.ended({ error: undefined }))
  }

  #serve(): void {
    for (let receiver = this.receivers.head; receiver !== undefined; receiver = this.receivers.head) {
      let item: T | Empty
      try {
        item = this.#reader.tryRead()
      } catch (error) {
        receiver.leave()
        receiver.broken(error)
        continue
      }
      if (item === empty) return
      receiver.deliver(item)
    }
  }

  #end(tell: (receiver: Receiver<T>) => void): void {
    for (let receiver = this.receivers.head; receiver !== undefined; receiver = this.receivers.head) {
      receiver.leave()
      tell(receiver)
    }
  }
}
