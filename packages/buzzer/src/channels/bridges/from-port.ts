import type { MessagePort } from 'node:worker_threads'
import { Completion } from '../completion.ts'
import { type Empty, empty } from '../empty.ts'
import { ChannelSourceClosedError, type Outcome } from '../errors.ts'
import { Hints } from '../hints.ts'
import { requireInteger, type WaitOptions } from '../options.ts'
import { ChannelReader } from '../reader.ts'
import { Ring } from '../ring.ts'
import { Turn } from '../turn.ts'
import { isFrame, post, type WriterFrame } from './port-frames.ts'
import { defaultCapacity, type SourceOptions, type SourceReader } from './source-reader.ts'

let created = 0

/** Grants the other side as many items as there is room for, and asks again when half of them have been read. */
class PortReader<T> extends ChannelReader<T> implements AsyncDisposable {
  readonly #port: MessagePort
  readonly #name: string
  readonly #capacity: number
  readonly #signal: AbortSignal | undefined
  readonly #items = new Ring<T>()
  readonly #hints = new Hints()
  readonly #turn = new Turn()
  readonly #completion = new Completion()
  #outcome: Outcome | undefined = undefined
  /** Items allowed but not yet here. */
  #granted = 0

  constructor(port: MessagePort, name: string, capacity: number, signal: AbortSignal | undefined) {
    super()
    this.#name = name
    this.#port = port
    this.#capacity = capacity
    this.#signal = signal
    if (signal?.aborted) this.#letGo()
    else {
      signal?.addEventListener('abort', this.#letGo)
      port.on('message', this.#onMessage)
      port.on('close', this.#onClose)
    }
  }

  override tryRead(): T | Empty {
    if (this.#items.size === 0) {
      this.#grant()
      return empty
    }
    const item = this.#items.shift()
    this.#grant()
    if (this.#items.size === 0 && this.#outcome !== undefined) this.#completion.settle(this.#outcome.error)
    return item
  }

  override tryPeek(): T | Empty {
    return this.#items.size === 0 ? empty : this.#items.peek()
  }

  override waitToRead(options?: WaitOptions): Promise<boolean> {
    const signal = options?.signal
    if (signal?.aborted) return Promise.reject(signal.reason)
    if (this.#items.size > 0) return this.#turn.promise(true)
    if (this.#outcome !== undefined) {
      const { error } = this.#outcome
      return error === undefined ? Promise.resolve(false) : Promise.reject(error)
    }
    this.#grant()
    return this.#hints.wait(signal)
  }

  override get completion(): Promise<void> {
    return this.#completion.promise
  }

  override get count(): number {
    return this.#items.size
  }

  override get closed(): boolean {
    return this.#outcome !== undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#letGo()
  }

  #grant(): void {
    const room = this.#capacity - this.#items.size - this.#granted
    if (this.#outcome !== undefined || 2 * room < this.#capacity) return
    this.#granted += room
    post(this.#port, { buzzer: 'credit', items: room })
  }

  readonly #onMessage = (message: unknown): void => {
    if (!isFrame<WriterFrame>(message, 'items', 'end')) return
    if (message.buzzer === 'end') return this.#end(message.error)
    for (const item of message.items as readonly T[]) this.#items.push(item)
    this.#granted -= message.items.length
    this.#hints.wake(this.#turn, 1)
  }

  readonly #onClose = (): void => {
    this.#end(
      new ChannelSourceClosedError(`the port of "${this.#name}" was closed before its writer completed the channel`),
    )
  }

  readonly #letGo = (): void => {
    if (this.#outcome !== undefined) return
    post(this.#port, { buzzer: 'stop' })
    this.#end(undefined)
  }

  #end(error: unknown): void {
    if (this.#outcome !== undefined) return
    this.#outcome = { error }
    this.#port.removeListener('message', this.#onMessage)
    this.#port.removeListener('close', this.#onClose)
    this.#signal?.removeEventListener('abort', this.#letGo)
    if (this.#items.size > 0) return
    this.#completion.settle(error)
    this.#hints.end(error)
  }
}

/**
 * A reader of what `toPort` writes at the other end of a `MessagePort`. From the first read on it allows the writer
 * `capacity` items ahead (default 16, integer ≥ 1). The writer's end and error arrive after its items; a port that
 * closes first is an error. Aborting `signal` or disposing tells the writer to stop. The port stays open: it is yours.
 */
export function fromPort<T>(port: MessagePort, options: SourceOptions = {}): SourceReader<T> {
  const capacity = requireInteger('capacity', options.capacity ?? defaultCapacity, 1)
  created++
  return new PortReader(port, options.name ?? `port-${created}`, capacity, options.signal)
}
