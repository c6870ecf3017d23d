import { BlockedRead } from './blocked-read.ts'
import type { ChannelCore } from './channel-core.ts'
import { type Empty, empty } from './empty.ts'
import { ChannelClosedError } from './errors.ts'
import type { ChannelStats, WaitOptions } from './options.ts'
import { bindSource, ChannelReader } from './reader.ts'
import { accepted, bindOffer, ChannelWriter } from './writer.ts'

/** The reading half of a channel in one thread. */
export class BufferedReader<T> extends ChannelReader<T> {
  readonly core: ChannelCore<T>

  constructor(core: ChannelCore<T>) {
    super()
    this.core = core
    bindSource(this, core)
  }

  override tryRead(): T | Empty {
    return this.core.take()
  }

  override tryPeek(): T | Empty {
    return this.core.peek()
  }

  /** As the base class does it, without the way round over the source that any reader may have. */
  override read(options?: WaitOptions): Promise<T> {
    const { core } = this
    const signal = options?.signal
    if (signal?.aborted) return Promise.reject(signal.reason)
    let item: T | Empty
    try {
      item = core.take()
    } catch (error) {
      return Promise.reject(error)
    }
    if (item !== empty) return core.turn.promise(item)
    return new Promise((resolve, reject) => {
      if (signal === undefined) core.awaitRead(resolve, reject)
      else core.await(new BlockedRead(core, signal, resolve, reject))
    })
  }

  override waitToRead(options?: WaitOptions): Promise<boolean> {
    return this.core.waitToRead(options?.signal)
  }

  override get completion(): Promise<void> {
    return this.core.completion
  }

  override get count(): number {
    return this.core.count
  }

  override get closed(): boolean {
    return this.core.closed
  }
}

/** The writing half of a channel in one thread. */
export class BufferedWriter<T> extends ChannelWriter<T> {
  readonly #core: ChannelCore<T>

  constructor(core: ChannelCore<T>) {
    super()
    this.#core = core
    bindOffer(this, (item, signal) => core.offer(item, signal))
  }

  override tryWrite(item: T): boolean {
    return this.#core.tryWrite(item)
  }

  override waitToWrite(options?: WaitOptions): Promise<boolean> {
    return this.#core.waitToWrite(options?.signal)
  }

  override write(item: T, options?: WaitOptions): Promise<void> {
    return this.#core.offer(item, options?.signal) ?? this.#core.writeTurn.shared(accepted)
  }

  override complete(error?: unknown): void {
    if (this.#core.close(error)) return
    const why = this.#core.closedError()
    throw why instanceof ChannelClosedError
      ? why
      : new ChannelClosedError(`channel "${this.#core.name}" is closed`, { cause: why })
  }

  override tryComplete(error?: unknown): boolean {
    return this.#core.close(error)
  }

  override abort(reason?: unknown): T[] {
    return this.#core.abort(this.#core.abortReason(reason))
  }

  override get closed(): boolean {
    return this.#core.closed
  }
}

/** A channel: two halves over one core. */
export class BufferedChannel<T> implements AsyncDisposable {
  readonly name: string
  readonly reader: BufferedReader<T>
  readonly writer: BufferedWriter<T>
  readonly #core: ChannelCore<T>

  constructor(core: ChannelCore<T>) {
    this.name = core.name
    this.#core = core
    this.reader = new BufferedReader(core)
    this.writer = new BufferedWriter(core)
  }

  stats(): ChannelStats {
    return this.#core.stats()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.writer.abort()
  }
}
