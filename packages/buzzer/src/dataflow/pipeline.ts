import { Channel, ChannelWriter, type Clock, type Empty, type WaitOptions } from '../channels/index.ts'
import { ActionBlock } from './action-block.ts'
import { BatchBlock } from './batch-block.ts'
import type { Block, BlockStats, Propagator, Source, Target } from './block.ts'
import { BufferBlock } from './buffer-block.ts'
import type { Many } from './expansion.ts'
import { isBlockInlet, outletOf } from './faces.ts'
import { isThenable } from './thenable.ts'
import { isNullTarget } from './null-target.ts'
import {
  type BatchOptions,
  type BlockOptions,
  defaultCapacity,
  type FunctionOptions,
  type RunContext,
} from './options.ts'
import { Course } from './pipeline-course.ts'
import { TransformBlock } from './transform-block.ts'
import { TransformManyBlock } from './transform-many-block.ts'

/** Defaults for the blocks of a pipeline. */
export interface PipelineOptions {
  /** Prefix of the blocks' names. Default: none, the blocks are numbered. */
  name?: string
  /** Ends every block with `signal.reason`. */
  signal?: AbortSignal
  /** Items each block may own. Default 1,024. */
  capacity?: number
  clock?: Clock
}

/**
 * A line of blocks. Each step makes a block, links it to the one before with `propagate: 'both'`, and returns the pipeline
 * with that step; a step used twice throws. `forEach` and `to` seal it; an unsealed one is consumed by iteration. All of
 * its functions run in the `AsyncLocalStorage` context in which `pipeline` was called.
 * Source: spec dataflow 2.6.
 */
export interface Pipeline<I, O> extends AsyncDisposable, AsyncIterable<O> {
  /** Gives on the function's results; `Channel.empty`: no output. */
  map<P>(
    fn: (item: O, context: RunContext) => P | Empty | Promise<P | Empty>,
    options?: FunctionOptions<O>,
  ): Pipeline<I, P>
  /** Gives on the items for which the function answers true. */
  filter<P extends O>(where: (item: O) => item is P, options?: FunctionOptions<O>): Pipeline<I, P>
  filter(
    where: (item: O, context: RunContext) => boolean | Promise<boolean>,
    options?: FunctionOptions<O>,
  ): Pipeline<I, O>
  /** Gives on what the function's arrays, iterables or async iterables hold. */
  flatMap<P>(
    fn: (item: O, context: RunContext) => Many<P> | Promise<Many<P>>,
    options?: FunctionOptions<O>,
  ): Pipeline<I, P>
  /** Gathers items into arrays. Raises the block's capacity to `size` where need be. */
  batch(size: number, options?: BatchOptions<O>): Pipeline<I, O[]>
  /** Goes on through a block, or an encapsulated graph, of one's own. */
  through<P>(block: Propagator<O, P>): Pipeline<I, P>
  /** Seals the pipeline with a function. */
  forEach(fn: (item: O, context: RunContext) => unknown, options?: FunctionOptions<O>): Pipeline<I, never>
  /** Seals the pipeline with a block, or with a channel, which is completed at the end, with the error if there is one. */
  to(target: Target<O> | ChannelWriter<O>): Pipeline<I, never>
  /** Gives the item to the head now or not at all. */
  post(item: I): boolean
  /** Waits for room in the head. Rejects with `BlockClosedError` (`cause`: the error) once the pipeline is closed or dead. */
  send(item: I, options?: WaitOptions): Promise<void>
  /** Closes the head and returns `completion`. An unsealed pipeline waits for its consumer. */
  complete(): Promise<void>
  /** Faults every block. Default reason: an AbortError. */
  abort(reason?: unknown): void
  /** Settles when every block has; rejects with the first error. Never an unhandled rejection. */
  readonly completion: Promise<void>
  readonly blocks: readonly Block[]
  stats(): readonly BlockStats[]
  /**
   * A sealed pipeline is completed and drained; rejects with its failure unless `complete()` or `completion`, which show
   * it, have been used. An unsealed one is aborted.
   */
  [Symbol.asyncDispose](): Promise<void>
}

/** The end of a pipeline under construction: what the next step is linked to. */
class Stretch<I, O> implements Pipeline<I, O> {
  readonly #course: Course
  readonly #tail: Source<O> | undefined
  #used = false

  constructor(course: Course, tail: Source<O> | undefined) {
    this.#course = course
    this.#tail = tail
  }

  map<P>(
    fn: (item: O, context: RunContext) => P | Empty | Promise<P | Empty>,
    options: FunctionOptions<O> = {},
  ): Pipeline<I, P> {
    return this.#then(this.#course.make(() => new TransformBlock<O, P>(fn, this.#with('map', options))))
  }

  filter<P extends O>(where: (item: O) => item is P, options?: FunctionOptions<O>): Pipeline<I, P>
  filter(
    where: (item: O, context: RunContext) => boolean | Promise<boolean>,
    options?: FunctionOptions<O>,
  ): Pipeline<I, O>
  filter(
    where: (item: O, context: RunContext) => boolean | Promise<boolean>,
    options: FunctionOptions<O> = {},
  ): Pipeline<I, O> {
    const keep = (item: O, context: RunContext): O | Empty | Promise<O | Empty> => {
      const answer = where(item, context)
      if (isThenable(answer)) return Promise.resolve(answer).then(kept => (kept ? item : Channel.empty))
      return answer ? item : Channel.empty
    }
    return this.#then(this.#course.make(() => new TransformBlock<O, O>(keep, this.#with('filter', options))))
  }

  flatMap<P>(
    fn: (item: O, context: RunContext) => Many<P> | Promise<Many<P>>,
    options: FunctionOptions<O> = {},
  ): Pipeline<I, P> {
    return this.#then(this.#course.make(() => new TransformManyBlock<O, P>(fn, this.#with('flatMap', options))))
  }

  batch(size: number, options: BatchOptions<O> = {}): Pipeline<I, O[]> {
    const given = this.#with('batch', options)
    return this.#then(
      new BatchBlock<O>(size, { ...given, capacity: Math.max(given.capacity ?? defaultCapacity, size) }),
    )
  }

  through<P>(block: Propagator<O, P>): Pipeline<I, P> {
    outletOf(block)
    return this.#then(block)
  }

  forEach(fn: (item: O, context: RunContext) => unknown, options: FunctionOptions<O> = {}): Pipeline<I, never> {
    return this.#seal(this.#course.make(() => new ActionBlock<O>(fn, this.#with('forEach', options))))
  }

  to(target: Target<O> | ChannelWriter<O>): Pipeline<I, never> {
    if (target instanceof ChannelWriter) return this.#seal(writing(target, this.#with('to', {})), target)
    if (!isBlockInlet(target))
      throw new TypeError(
        'to() takes a block of buzzer/dataflow or the writer of a channel: wrap anything else in forEach',
      )
    return this.#seal(target)
  }

  post(item: I): boolean {
    return (this.#course.head() as unknown as Target<I>).post(item)
  }

  send(item: I, options?: WaitOptions): Promise<void> {
    return (this.#course.head() as unknown as Target<I>).send(item, options)
  }

  complete(): Promise<void> {
    void this.#course.head().complete()
    return this.#course.shown()
  }

  abort(reason?: unknown): void {
    this.#course.abort(reason)
  }

  get completion(): Promise<void> {
    return this.#course.shown()
  }

  get blocks(): readonly Block[] {
    return this.#course.blocks
  }

  stats(): readonly BlockStats[] {
    return this.#course.blocks.map(block => block.stats())
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<O> {
    if (this.#course.sealed)
      throw new TypeError('a sealed pipeline cannot be iterated: forEach() or to() consumes its items')
    if (this.#used) throw new TypeError('this step of the pipeline has been used: iterate the last one')
    const tail = this.#tail ?? (this.#course.head() as unknown as Source<O>)
    this.#course.flow()
    return tail.receiveAll()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#course.dispose()
  }

  #with<Options extends BlockOptions>(step: string, options: Options): Options {
    return this.#course.defaults(step, options)
  }

  #then<P>(block: Propagator<O, P>): Pipeline<I, P> {
    this.#append(block)
    return new Stretch<I, P>(this.#course, block)
  }

  #seal(target: Target<O>, writer?: ChannelWriter<O>): Pipeline<I, never> {
    this.#append(target)
    if (writer !== undefined) {
      target.completion.then(
        () => writer.tryComplete(),
        (error: unknown) => writer.tryComplete(error),
      )
    }
    this.#course.seal()
    return new Stretch<I, never>(this.#course, undefined)
  }

  #append(target: Target<O>): void {
    if (this.#course.sealed) throw new TypeError('the pipeline is sealed: no step can follow forEach() or to()')
    if (this.#used)
      throw new TypeError(
        'this step of the pipeline has been used: a pipeline is one line, take a BroadcastBlock to fork',
      )
    this.#used = true
    if (isNullTarget(target)) this.#course.head()
    const tail = this.#tail ?? (this.#course.started ? (this.#course.head() as unknown as Source<O>) : undefined)
    // A null target has no end to wait for.
    if (!isNullTarget(target)) this.#course.add(target as unknown as Target<never>)
    tail?.link(target)
  }
}

/** A block that gives its items to a channel and waits for room there. */
function writing<T>(writer: ChannelWriter<T>, options: BlockOptions): ActionBlock<T> {
  return new ActionBlock<T>(item => (writer.tryWrite(item) ? undefined : writer.write(item)), options)
}

function begin<I>(options: PipelineOptions = {}): Pipeline<I, I> {
  return new Stretch<I, I>(new Course(options, bufferFor), undefined)
}

function from<T>(source: Iterable<T> | AsyncIterable<T>, options: PipelineOptions = {}): Pipeline<never, T> {
  return new Stretch<never, T>(new Course(options, bufferFor, source), undefined)
}

/** The head of a pipeline that is used before it has a step. */
function bufferFor(options: BlockOptions): BufferBlock<never> {
  return new BufferBlock(options)
}

/**
 * The fluent, typed way into dataflow: `pipeline<I>()` is fed by `post` and `send`; `pipeline.from(source)` pulls an
 * iterable, an async iterable, a channel reader or a stream, only once sealed or iterated, one item at a time as the head
 * has room.
 */
export const pipeline: {
  <I>(options?: PipelineOptions): Pipeline<I, I>
  from<T>(source: Iterable<T> | AsyncIterable<T>, options?: PipelineOptions): Pipeline<never, T>
} = Object.assign(begin, { from })
