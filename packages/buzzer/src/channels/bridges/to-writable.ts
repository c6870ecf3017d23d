import { Writable } from 'node:stream'
import { ChannelSourceClosedError } from '../errors.ts'
import type { ChannelWriter } from '../writer.ts'

/**
 * An object-mode stream into a channel. The callback of a write is called when the channel has the item, so the stream's
 * back-pressure is the channel's. End completes the channel; `destroy(error)` completes it with the error, a destroy
 * before the end with `BUZZER_CHANNEL_SOURCE_CLOSED`. A closed channel fails the stream.
 */
export function toWritable<T>(writer: ChannelWriter<T>): Writable {
  let ended = false
  return new Writable({
    objectMode: true,
    highWaterMark: 1,
    write(item: T, _encoding, callback) {
      // oxlint-disable-next-line promise/no-callback-in-promise -- that is what a bridge does
      writer.write(item).then(() => callback(), callback)
    },
    final(callback) {
      ended = true
      writer.tryComplete()
      callback()
    },
    destroy(error, callback) {
      if (!ended) {
        writer.tryComplete(error ?? new ChannelSourceClosedError('the stream was destroyed before its end'))
      }
      callback(error)
    },
  })
}
