import { WritableStream } from 'node:stream/web'
import { defaultAbortReason } from '../errors.ts'
import type { ChannelWriter } from '../writer.ts'

/**
 * A web stream into a channel: a write is done when the channel has the item. Close completes the channel; abort
 * completes it with the reason, and takes back a write that still waits. A closed channel fails the stream.
 */
export function toWebWritable<T>(writer: ChannelWriter<T>): WritableStream<T> {
  return new WritableStream<T>({
    // A stream's abort waits for the write under way: the controller's signal takes that back. The types lack it.
    write: (item, controller) => writer.write(item, controller as typeof controller & { signal: AbortSignal }),
    close: () => void writer.tryComplete(),
    abort: reason => void writer.tryComplete(reason ?? defaultAbortReason('toWebWritable')),
  })
}
