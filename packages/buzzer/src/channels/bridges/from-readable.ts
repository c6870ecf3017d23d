import type { Readable } from 'node:stream'
import { pullingReader, type SourceOptions, type SourceReader } from './source-reader.ts'

function heard(): void {}

/**
 * A reader over a Node stream, chunk by chunk (object mode: item by item). The stream flows only as far as `capacity`
 * and its own high-water mark allow. An error, or a close before the end, completes the channel with an error after the
 * chunks before it. Aborting `signal` or disposing destroys the stream.
 */
export function fromReadable<T = unknown>(stream: Readable, options: SourceOptions = {}): SourceReader<T> {
  let iterator: AsyncIterator<T> | undefined
  // The iterator tells of an error whenever it happened; until it exists nobody else would hear it.
  stream.on('error', heard)
  return pullingReader<T>(
    {
      next() {
        iterator ??= stream[Symbol.asyncIterator]() as AsyncIterator<T>
        return iterator.next()
      },
      stop() {
        stream.destroy()
      },
    },
    options,
  )
}
