import { BufferedReader } from './buffered-channel.ts'
import { Completion } from './completion.ts'
import { type Empty, empty } from './empty.ts'
import type { Outcome } from './errors.ts'
import type { WaitOptions } from './options.ts'
import { ChannelReader } from './reader.ts'
import type { AnyReader, Selected } from './select.ts'
import { Turn } from './turn.ts'
import { waitForAny } from './wait-for-any.ts'

interface Source {
  readonly reader: AnyReader
  /** With a record: the name its items carry. */
  readonly key: string | undefined
  ended: boolean
}

/** Reads several readers in turns. It holds nothing: an item leaves its source when somebody asks here. */
class MergedReader<T> extends ChannelReader<T> {
  readonly #sources: Source[]
  readonly #completion = new Completion()
  readonly #turn = new Turn()
  #outcome: Outcome | undefined = undefined
  #next = 0

  constructor(sources: Source[]) {
    super()
    this.#sources = sources
    if (sources.length === 0) this.#end(undefined)
    for (const source of sources) {
      source.reader.completion.then(
        () => this.#sourceEnded(source),
        (error: unknown) => this.#end(error),
      )
    }
  }

  override tryRead(): T | Empty {
    const sources = this.#sources
    for (let step = 0; step < sources.length && this.#outcome === undefined; step++) {
      const index = (this.#next + step) % sources.length
      const source = sources[index] as Source
      const value: unknown = source.reader.tryRead()
      if (value !== empty) this.#next = index + 1
      this.#lookForEnd(source)
      if (value !== empty) return (source.key === undefined ? value : { key: source.key, value }) as T
    }
    return empty
  }

  override tryPeek(): T | Empty {
    const sources = this.#sources
    for (let step = 0; step < sources.length && this.#outcome === undefined; step++) {
      const source = sources[(this.#next + step) % sources.length] as Source
      const value: unknown = source.reader.tryPeek()
      if (value !== empty) return (source.key === undefined ? value : { key: source.key, value }) as T
    }
    return empty
  }

  override async waitToRead(options?: WaitOptions): Promise<boolean> {
    const signal = options?.signal
    signal?.throwIfAborted()
    for (;;) {
      if (this.#outcome !== undefined) {
        if (this.#outcome.error === undefined) return false
        throw this.#outcome.error
      }
      if (this.tryPeek() !== empty) return this.#turn.promise(true)
      const open = this.#sources.filter(source => !source.ended)
      const findings = await waitForAny(
        open.map(source => source.reader),
        signal,
      )
      for (const source of open) if (findings?.ended.includes(source.reader)) this.#sourceEnded(source)
      if (findings?.failed !== undefined) this.#end(findings.failed.error)
      if (findings?.failed === undefined && findings?.ended.length === 0) return this.#turn.promise(true)
    }
  }

  override get completion(): Promise<void> {
    return this.#completion.promise
  }

  /** The sum of what the sources hold. */
  override get count(): number {
    return this.#outcome === undefined ? this.#sources.reduce((sum, source) => sum + source.reader.count, 0) : 0
  }

  override get closed(): boolean {
    return this.#outcome !== undefined || this.#sources.every(source => source.reader.closed)
  }

  /** Of our own readers the end shows in the same step, without waiting for the reaction of a promise. */
  #lookForEnd(source: Source): void {
    const outcome = source.reader instanceof BufferedReader ? source.reader.core.end : undefined
    if (outcome === undefined) return
    if (outcome.error === undefined) this.#sourceEnded(source)
    else this.#end(outcome.error)
  }

  #sourceEnded(source: Source): void {
    source.ended = true
    if (this.#sources.every(each => each.ended)) this.#end(undefined)
  }

  #end(error: unknown): void {
    if (this.#outcome !== undefined) return
    this.#outcome = { error }
    this.#completion.settle(error)
  }
}

/**
 * One reader over several, without buffer or pump: nothing leaves a source before it is asked for. Sources take turns.
 * It ends when all have ended; a source's error ends it once that source is drained, and the others keep their items.
 * A record of readers gives `{ key, value }` items. Over a rendezvous it is met by `write`, not by `tryWrite`.
 * Source: spec channels 2.7.
 */
export function merge<T>(readers: readonly ChannelReader<T>[]): ChannelReader<T>
export function merge<C extends Record<string, AnyReader>>(readers: C): ChannelReader<Selected<C>>
export function merge(readers: readonly AnyReader[] | Record<string, AnyReader>): ChannelReader<unknown> {
  const sources: Source[] = Array.isArray(readers)
    ? readers.map((reader: AnyReader) => ({ reader, key: undefined, ended: false }))
    : Object.entries(readers).map(([key, reader]) => ({ reader, key, ended: false }))
  return new MergedReader(sources)
}
