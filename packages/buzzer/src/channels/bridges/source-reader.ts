import { AsyncLocalStorage } from 'node:async_hooks'
import { BufferedReader } from '../buffered-channel.ts'
import { boundedCore } from '../channel.ts'
import type { ChannelCore } from '../channel-core.ts'
import type { WaitOptions } from '../options.ts'
import type { ChannelReader } from '../reader.ts'
import { Turn } from '../turn.ts'

/** A reader over something outside. Disposing it lets go of the source; what was read ahead stays readable. */
export type SourceReader<T> = ChannelReader<T> & AsyncDisposable

export interface SourceOptions extends WaitOptions {
  /** For diagnostics and error messages. Default: kind and running number. */
  name?: string | undefined
  /** Items read ahead, integer ≥ 0. Default 16. */
  capacity?: number | undefined
}

export const defaultCapacity = 16

/** What a bridge does to its source. */
export interface Feed<T> {
  /** Asked for one item at a time, and only while there is room for it. */
  next(): IteratorResult<T, unknown> | Promise<IteratorResult<T, unknown>>
  /** Stops the source. `idle`: no `next()` is under way. Called at most once, and not after the end. */
  stop(idle: boolean): unknown
}

/** A channel's reading half that owns what fills it. */
export class OwningReader<T> extends BufferedReader<T> implements AsyncDisposable {
  readonly #letGo: () => unknown
  readonly #signal: AbortSignal | undefined
  readonly #onAbort = (): void => void this[Symbol.asyncDispose]()
  #holding = true

  constructor(core: ChannelCore<T>, letGo: () => unknown, signal: AbortSignal | undefined) {
    super(core)
    this.#letGo = letGo
    this.#signal = signal
    signal?.addEventListener('abort', this.#onAbort)
  }

  /** The source has ended or failed by itself. */
  sourceEnded(error: unknown): void {
    this.#release()
    this.core.close(error)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.core.close(undefined)
    if (this.#release()) await this.#letGo()
  }

  #release(): boolean {
    const held = this.#holding
    this.#holding = false
    this.#signal?.removeEventListener('abort', this.#onAbort)
    return held
  }
}

/**
 * A reader that pulls from `feed`: nothing before the first read, never more than `capacity` items ahead, and always in
 * the context in which the bridge was made.
 */
export function pullingReader<T>(feed: Feed<T>, options: SourceOptions): SourceReader<T> {
  const inOwnContext = AsyncLocalStorage.snapshot()
  const { signal, name, capacity = defaultCapacity } = options
  let pulling = false
  const core = boundedCore<T>({ capacity, name }, () => {
    // Not on the reader's stack: this is the source's code.
    void Promise.resolve().then(() => inOwnContext(() => pump()))
  })
  const reader = new OwningReader(core, () => feed.stop(!pulling), signal)

  async function pump(): Promise<void> {
    const turn = new Turn()
    try {
      while (core.ready || (await core.waitToWrite(undefined))) {
        if (core.closed) return
        pulling = true
        const next = feed.next()
        const result = next instanceof Promise ? await next : next
        pulling = false
        if (result.done) return reader.sourceEnded(undefined)
        const waiting = core.offer(result.value, undefined)
        if (waiting !== undefined) await waiting
        else if (turn.due()) await turn.promise(undefined)
      }
    } catch (error) {
      pulling = false
      reader.sourceEnded(error)
    }
  }

  if (signal?.aborted) void reader[Symbol.asyncDispose]()
  return reader
}
