import type { ChannelReader, WaitOptions } from '../channels/index.ts'
import type { Propagator, Source } from './block.ts'
import { BufferBlock } from './buffer-block.ts'

/** A loop of its own over a source that gives every item to every link: it subscribes with the first `next()`. */
export function subscribe<O>(source: Source<O>, options: WaitOptions | undefined): AsyncIterableIterator<O> {
  let buffer: BufferBlock<O> | undefined
  let items: AsyncIterableIterator<O> | undefined
  const begin = (): AsyncIterableIterator<O> => {
    buffer = new BufferBlock<O>({ name: `${source.name} loop`, capacity: 1 })
    items = buffer.receiveAll(options)
    source.link(buffer, { propagate: 'forward' })
    return items
  }
  const end = async (): Promise<void> => {
    await buffer?.[Symbol.asyncDispose]()
  }
  const loop: AsyncIterableIterator<O> = {
    async next() {
      try {
        const step = await (items ?? begin()).next()
        if (step.done === true) await end()
        return step
      } catch (error) {
        await end()
        throw error
      }
    },
    async return() {
      // Also before the first step: a loop that has returned never begins.
      await (items ??= new BufferBlock<O>().receiveAll()).return?.()
      await end()
      return { done: true, value: undefined }
    },
    [Symbol.asyncIterator]: () => loop,
  }
  return loop
}

/** A reader of its own, for the same reason: reading a source that keeps its latest item would never come to an end. */
export function subscribedReader<O>(source: Propagator<O, O>): ChannelReader<O> {
  const buffer = new BufferBlock<O>({ name: `${source.name} reader`, capacity: 1 })
  source.link(buffer, { propagate: 'forward' })
  return buffer.asReader()
}
