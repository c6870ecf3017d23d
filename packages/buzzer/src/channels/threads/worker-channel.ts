import type { Worker } from 'node:worker_threads'
import { threadId } from 'node:worker_threads'
import { requireInteger } from '../options.ts'
import type { ChannelReader } from '../reader.ts'
import type { ChannelWriter } from '../writer.ts'
import { type CodecOption, ringCodec } from './codec.ts'
import { letGo, RingEnd } from './ring-end.ts'
import { RingReader } from './ring-reader.ts'
import { RingWriter } from './ring-writer.ts'
import { SharedRing } from './shared-ring.ts'

export interface WorkerChannelOptions<T> {
  /** Size of the ring, rounded up to a power of two, at least 64. The largest item has 4 bytes less. Default 1 MiB. */
  bytes?: number | undefined
  /** How items become bytes; both threads must name the same. Default `json`. */
  codec?: CodecOption<T> | undefined
  /** For error messages. Default: kind and running number. */
  name?: string | undefined
}

/** Plain data for `workerData` or `postMessage`: what the other thread opens the channel with. */
export interface WorkerChannelHandle {
  readonly buffer: SharedArrayBuffer
  readonly name: string
}

/** A channel between two threads over shared memory. One thread reads, one thread writes. */
export interface WorkerChannel<T> extends AsyncDisposable {
  readonly handle: WorkerChannelHandle
  /** A second thread that reads: `BUZZER_CHANNEL_SIDE_TAKEN`. `completion` settles in the reading thread. */
  readonly reader: ChannelReader<T>
  /** `abort` answers what was buffered only where the same thread reads too. */
  readonly writer: ChannelWriter<T>
  /**
   * The exit of that worker ends the channel: readers get the whole messages that are there, then both sides reject
   * with `BUZZER_CHANNEL_CLOSED`, whose `cause` (`BUZZER_CHANNEL_PEER_LOST`) names thread and exit code. Without it a
   * thread that is terminated goes unseen, and its peer waits for ever; an orderly exit says goodbye by itself.
   */
  watch(worker: Worker): void
  /** The writing thread aborts the channel, the reading thread lets go of it: either way the peer is told. */
  [Symbol.asyncDispose](): Promise<void>
}

let created = 0

/** Makes the memory of a worker channel. Send `handle` to the other thread, which calls `openWorkerChannel`. */
export function createWorkerChannel<T>(options: WorkerChannelOptions<T> = {}): WorkerChannel<T> {
  const bytes = requireInteger('bytes', options.bytes ?? 1_048_576, 1)
  if (bytes > 2 ** 30) throw new RangeError(`bytes must be at most ${2 ** 30}, not ${bytes}`)
  const codec = ringCodec(options.codec)
  created++
  return new RingChannel(SharedRing.create(bytes), options.name ?? `worker-${threadId}-${created}`, codec)
}

/** The other end of a channel that `createWorkerChannel` made. Throws `TypeError` for a foreign handle. */
export function openWorkerChannel<T>(
  handle: WorkerChannelHandle,
  options: Pick<WorkerChannelOptions<T>, 'codec'> = {},
): WorkerChannel<T> {
  if (!(handle?.buffer instanceof SharedArrayBuffer)) throw new TypeError('handle must be that of a worker channel')
  return new RingChannel(new SharedRing(handle.buffer), handle.name, ringCodec(options.codec))
}

class RingChannel<T> implements WorkerChannel<T> {
  readonly handle: WorkerChannelHandle
  readonly reader: RingReader<T>
  readonly writer: RingWriter<T>
  readonly #end: RingEnd

  constructor(ring: SharedRing, name: string, codec: ReturnType<typeof ringCodec<T>>) {
    this.handle = { buffer: ring.buffer, name }
    this.#end = new RingEnd(ring, name)
    const reader = new RingReader(ring, codec, this.#end)
    this.reader = reader
    this.writer = new RingWriter(ring, codec, this.#end, () => reader.drop())
  }

  watch(worker: Worker): void {
    // Asked now: after its exit a worker has no id any more.
    const watched = worker.threadId
    worker.once('exit', exitCode => this.#end.lose({ threadId: watched, exitCode }))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#end.heldElsewhere('writer')) this.#end.lose({ threadId, exitCode: letGo })
    else this.writer.abort()
  }
}
