import type { MessagePort } from 'node:worker_threads'
import { emptyAsItem, type Empty, empty } from '../empty.ts'
import { ChannelClosedError, ChannelPeerLostError, defaultAbortReason, type Outcome } from '../errors.ts'
import { Hints } from '../hints.ts'
import type { WaitOptions } from '../options.ts'
import { Turn } from '../turn.ts'
import { ChannelWriter } from '../writer.ts'
import { isFrame, post, type ReaderFrame } from './port-frames.ts'

const itemsPerFrame = 64

/** Posts arrays of items, at the latest when the current turn's promises are done, and never more than was granted. */
class PortWriter<T> extends ChannelWriter<T> {
  readonly #port: MessagePort
  readonly #hints = new Hints()
  readonly #turn = new Turn()
  #outbox: T[] = []
  #credit = 0
  #outcome: Outcome | undefined = undefined

  constructor(port: MessagePort) {
    super()
    this.#port = port
    port.on('message', this.#onMessage)
    port.on('close', this.#onClose)
  }

  override tryWrite(item: T): boolean {
    if ((item as T | Empty) === empty) throw emptyAsItem()
    if (this.#outcome !== undefined || this.#credit === 0) return false
    this.#credit--
    const waiting = this.#outbox.push(item)
    if (waiting === itemsPerFrame) this.#flush()
    else if (waiting === 1) queueMicrotask(() => this.#flush())
    return true
  }

  override waitToWrite(options?: WaitOptions): Promise<boolean> {
    const signal = options?.signal
    if (signal?.aborted) return Promise.reject(signal.reason)
    if (this.#outcome !== undefined) {
      const { error } = this.#outcome
      return error === undefined ? Promise.resolve(false) : Promise.reject(error)
    }
    return this.#credit > 0 ? this.#turn.promise(true) : this.#hints.wait(signal)
  }

  override tryComplete(error?: unknown): boolean {
    if (this.#outcome !== undefined) return false
    this.#flush()
    // Flushing may have failed the channel.
    if (this.#outcome === undefined) this.#sayEnd(error)
    return true
  }

  override abort(reason?: unknown): T[] {
    const unsent = this.#outbox.splice(0)
    this.tryComplete(reason === undefined ? defaultAbortReason('toPort') : reason)
    return unsent
  }

  override get closed(): boolean {
    return this.#outcome !== undefined
  }

  #flush(): void {
    if (this.#outbox.length === 0) return
    const items = this.#outbox
    this.#outbox = []
    try {
      post(this.#port, { buzzer: 'items', items })
    } catch (error) {
      // An item that cannot be cloned: its writer has gone on, so the channel must tell.
      this.#sayEnd(error)
    }
  }

  #sayEnd(error: unknown): void {
    this.#close(error)
    try {
      post(this.#port, error === undefined ? { buzzer: 'end' } : { buzzer: 'end', error })
    } catch {
      const told = new ChannelClosedError(`the writer failed: ${String(error)}`)
      post(this.#port, { buzzer: 'end', error: told })
    }
  }

  readonly #onMessage = (message: unknown): void => {
    if (!isFrame<ReaderFrame>(message, 'credit', 'stop')) return
    if (message.buzzer === 'stop') return this.#close(undefined)
    this.#credit += message.items
    this.#hints.wake(this.#turn, 1)
  }

  readonly #onClose = (): void => {
    this.#close(new ChannelPeerLostError('the port was closed: the reader is gone'))
  }

  #close(error: unknown): void {
    if (this.#outcome !== undefined) return
    this.#outcome = { error }
    this.#port.removeListener('message', this.#onMessage)
    this.#port.removeListener('close', this.#onClose)
    this.#hints.end(error)
  }
}

/**
 * A writer of whatever can be cloned, to `fromPort` at the other end of a `MessagePort`. `tryWrite` is false until the
 * reader has allowed more; items travel in arrays of up to 64. An item that cannot be cloned fails the channel with the
 * `DataCloneError`. `abort` answers only what had not been sent. The port stays open: it is yours.
 */
export function toPort<T>(port: MessagePort): ChannelWriter<T> {
  return new PortWriter(port)
}
