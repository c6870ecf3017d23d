import { ChannelClosedError, ChannelReader, ChannelWriter, type Empty, type WaitOptions } from '../channels/index.ts'
import { abortError, BlockClosedError } from './errors.ts'
import type { Intake } from './intake.ts'
import type { Outlet } from './outlet.ts'
import { tellDone } from './turn.ts'

/** The giving side of a block as the reading half of a channel. */
export class BlockReader<O> extends ChannelReader<O> {
  readonly #outlet: Outlet<O>

  constructor(outlet: Outlet<O>) {
    super()
    this.#outlet = outlet
  }

  override tryRead(): O | Empty {
    return this.#outlet.tryReceive()
  }

  override tryPeek(): O | Empty {
    return this.#outlet.peek()
  }

  override waitToRead(options?: WaitOptions): Promise<boolean> {
    return this.#outlet.waitToReceive(options)
  }

  override get completion(): Promise<void> {
    return this.#outlet.life.completion
  }

  override get count(): number {
    return this.#outlet.size
  }

  override get closed(): boolean {
    return !this.#outlet.life.open
  }
}

/**
 * The taking side of a block as the writing half of a channel. `complete(error)` faults the block; `abort` does too, and
 * returns nothing, because what the block held may be half done.
 */
export class BlockWriter<I> extends ChannelWriter<I> {
  readonly #intake: Intake<I>

  constructor(intake: Intake<I>) {
    super()
    this.#intake = intake
  }

  override tryWrite(item: I): boolean {
    return this.#intake.post(item)
  }

  override waitToWrite(options?: WaitOptions): Promise<boolean> {
    return this.#intake.waitForRoom(options?.signal)
  }

  /** In one line with `send` and links, so that hints decide nothing. */
  override write(item: I, options?: WaitOptions): Promise<void> {
    if (options?.signal?.aborted !== true && this.#intake.free && this.#intake.post(item)) return tellDone()
    return this.#intake.send(item, options).catch((error: unknown) => {
      throw error instanceof BlockClosedError ? this.#closedError(error) : error
    })
  }

  override tryComplete(error?: unknown): boolean {
    if (!this.#intake.open) return false
    if (error === undefined) void this.#intake.complete()
    else this.#intake.life.fault(error)
    return true
  }

  override abort(reason: unknown = abortError(`block "${this.#intake.name}"`)): I[] {
    this.#intake.life.fault(reason)
    return []
  }

  override get closed(): boolean {
    return !this.#intake.open
  }

  /** As channels tell it: an AbortError is not wrapped. */
  #closedError({ cause, message }: BlockClosedError): unknown {
    if ((cause as { name?: unknown } | undefined)?.name === 'AbortError') return cause
    return new ChannelClosedError(message, cause === undefined ? {} : { cause })
  }
}
