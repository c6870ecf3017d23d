import type { ReadableStream } from 'node:stream/web'
import { pullingReader, type SourceOptions, type SourceReader } from './source-reader.ts'

/**
 * A reader over a web stream, which it locks at once. Aborting `signal` or disposing cancels the stream. Throws
 * `TypeError` for a stream that is locked already.
 */
export function fromWeb<T>(stream: ReadableStream<T>, options: SourceOptions = {}): SourceReader<T> {
  const reader = stream.getReader()
  return pullingReader<T>(
    {
      async next() {
        const result = await reader.read()
        if (result.done) reader.releaseLock()
        return result
      },
      async stop() {
        await reader.cancel()
        reader.releaseLock()
      },
    },
    options,
  )
}
