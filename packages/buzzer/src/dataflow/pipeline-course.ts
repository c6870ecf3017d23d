import { AsyncResource } from 'node:async_hooks'
import type { Block, Target } from './block.ts'
import { abortError } from './errors.ts'
import { intakeOf } from './faces.ts'
import type { BlockOptions } from './options.ts'
import type { PipelineOptions } from './pipeline.ts'
import { inSharedContext, turnUsedUp } from './turn.ts'

type AnySource = Iterable<unknown> | AsyncIterable<unknown>

/** What all steps of one pipeline share: its blocks, its source and its end. */
export class Course {
  readonly blocks: Block[] = []
  sealed = false
  readonly #options: PipelineOptions
  readonly #makeHead: (options: BlockOptions) => Target<never>
  readonly #source: AnySource | undefined
  readonly #completion = Promise.withResolvers<void>()
  /** All blocks of a pipeline work in the context in which it was begun. */
  readonly #context: AsyncResource = new AsyncResource('BuzzerPipeline')
  #head: Target<never> | undefined = undefined
  #open = 0
  #failure: { readonly error: unknown } | undefined = undefined
  #shown = false
  #flowing = false
  #steps = 0

  constructor(options: PipelineOptions, makeHead: (options: BlockOptions) => Target<never>, source?: AnySource) {
    this.#options = options
    this.#makeHead = makeHead
    this.#source = source
    this.#completion.promise.catch(() => {})
  }

  get started(): boolean {
    return this.#head !== undefined
  }

  head(): Target<never> {
    if (this.#head === undefined) this.add(this.make(() => this.#makeHead(this.defaults('buffer', {}))))
    return this.#head as Target<never>
  }

  /** The options of a step, with those of the pipeline where it names none. */
  defaults<Options extends BlockOptions>(step: string, options: Options): Options {
    const { name, signal, capacity, clock } = this.#options
    this.#steps++
    return {
      ...(name === undefined ? {} : { name: `${name}/${step}-${this.#steps}` }),
      ...(signal === undefined ? {} : { signal }),
      ...(capacity === undefined ? {} : { capacity }),
      ...(clock === undefined ? {} : { clock }),
      ...options,
    }
  }

  /** Makes a block of this pipeline. */
  make<B>(construct: () => B): B {
    return inSharedContext(this.#context, construct)
  }

  add(block: Target<never>): void {
    this.#head ??= block
    this.blocks.push(block)
    this.#open++
    block.completion.then(
      () => this.#settled(),
      (error: unknown) => {
        this.#failure ??= { error }
        this.#settled()
      },
    )
  }

  seal(): void {
    this.sealed = true
    this.flow()
  }

  /** Begins to pull the source. */
  flow(): void {
    if (this.#source === undefined || this.#flowing) return
    this.#flowing = true
    const source = this.#source
    queueMicrotask(() => this.#context.runInAsyncScope(() => void this.#pull(source)))
  }

  abort(reason?: unknown): void {
    const error = reason === undefined ? abortError(`pipeline${this.#called}`) : reason
    for (const block of this.blocks.length === 0 ? [this.head()] : this.blocks) block.fault(error)
  }

  /** The completion, for somebody who will see its failure. */
  shown(): Promise<void> {
    this.#shown = true
    return this.#completion.promise
  }

  async dispose(): Promise<void> {
    if (!this.sealed) {
      this.abort()
      await this.#completion.promise.catch(() => {})
      return
    }
    if (this.#source === undefined) void this.head().complete()
    if (this.#shown) await this.#completion.promise.catch(() => {})
    else await this.#completion.promise
  }

  get #called(): string {
    return this.#options.name === undefined ? '' : ` "${this.#options.name}"`
  }

  #settled(): void {
    if (--this.#open > 0) return
    if (this.#failure === undefined) this.#completion.resolve()
    else this.#completion.reject(this.#failure.error)
  }

  /** One item at a time, as the head has room. The end completes the head, an error faults it. */
  async #pull(source: AnySource): Promise<void> {
    const head = this.head() as unknown as Target<unknown>
    const intake = intakeOf(head)
    try {
      const asynchronous = Symbol.asyncIterator in source
      const iterator = asynchronous ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
      // When the pipeline ends first, also while a `next()` waits.
      let ended = false
      const close = (): void => {
        if (!ended) void closeIterator(iterator)
        ended = true
      }
      head.completion.then(close, close)
      while (await intake.waitForRoom(undefined)) {
        do {
          let step: IteratorResult<unknown>
          try {
            const next = iterator.next()
            step = asynchronous ? await (next as Promise<IteratorResult<unknown>>) : (next as IteratorResult<unknown>)
          } catch (error) {
            ended = true
            throw error
          }
          if (step.done === true) {
            ended = true
            void head.complete()
            return
          }
          if (!head.post(step.value)) await head.send(step.value)
          const used = turnUsedUp()
          if (used !== undefined) await used
        } while (intake.free)
      }
      close()
    } catch (error) {
      // Does nothing when it was the head that turned the item away.
      head.fault(error)
    }
  }
}

/** The pipeline takes no more: the source is told, and its complaints have nobody left to hear them. */
async function closeIterator(iterator: Iterator<unknown> | AsyncIterator<unknown>): Promise<void> {
  try {
    await iterator.return?.()
  } catch {
    // The pipeline has ended, and has told why.
  }
}
