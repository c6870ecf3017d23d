import { type Feed, pullingReader, type SourceOptions, type SourceReader } from './source-reader.ts'

/**
 * A reader over any iterable: pulled from the first read on, at most `capacity` items ahead. Its end completes the
 * channel, its error completes it with that error after the items before it. Aborting `signal` or disposing calls the
 * iterator's `return` and completes the channel.
 */
export function fromIterable<T>(source: Iterable<T> | AsyncIterable<T>, options: SourceOptions = {}): SourceReader<T> {
  return pullingReader(feedOf(source), options)
}

function feedOf<T>(source: Iterable<T> | AsyncIterable<T>): Feed<T> {
  let iterator: Iterator<T> | AsyncIterator<T> | undefined
  return {
    next() {
      iterator ??= Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
      const result = iterator.next()
      // Any thenable is a promise to the pump.
      return 'then' in result ? Promise.resolve(result) : result
    },
    stop(idle) {
      const closing = iterator?.return?.()
      if (idle) return closing
      // A generator at work answers `return` only when its own wait is over: nobody can wait for that.
      void Promise.resolve(closing).catch(() => {})
    },
  }
}
