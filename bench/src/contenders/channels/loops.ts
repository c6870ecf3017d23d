import { AsyncLocalStorage } from 'node:async_hooks'
import { EventEmitter, on, once } from 'node:events'
import { PassThrough } from 'node:stream'
import { capacity, passing, turn } from './passing.ts'

/** Adds up whatever a loop gives. */
async function sumOf(items: AsyncIterable<number>): Promise<number> {
  let sum = 0
  for await (const item of items) sum += item
  return sum
}

async function buzzerLoop(n: number): Promise<number> {
  const { Channel } = await import('buzzer/channels')
  const { reader, writer } = Channel.bounded<number>(capacity)
  const summing = sumOf(reader)
  for (let item = 0; item < n; item++) await writer.write(item)
  writer.complete()
  return summing
}

export const buzzer = passing('ours', 'Buzzer for await', async () => buzzerLoop)

export const buzzerWithContext = passing('ours', 'Buzzer for await, AsyncLocalStorage active', async () => {
  const storage = new AsyncLocalStorage<string>()
  return n => storage.run('active', () => buzzerLoop(n))
})

export const passThrough = passing('rival', 'PassThrough for await', async () => {
  return async n => {
    const stream = new PassThrough({ objectMode: true, highWaterMark: capacity })
    const summing = sumOf(stream as AsyncIterable<number>)
    for (let item = 0; item < n; item++) if (!stream.write(item)) await once(stream, 'drain')
    stream.end()
    return summing
  }
})

export const webTransform = passing('rival', 'Web TransformStream for await', async () => async n => {
  const { readable, writable } = new TransformStream<number, number>(
    {},
    { highWaterMark: capacity },
    { highWaterMark: capacity },
  )
  const writer = writable.getWriter()
  const summing = sumOf(readable)
  for (let item = 0; item < n; item++) {
    await writer.ready
    void writer.write(item)
  }
  await writer.close()
  return summing
})

export const ixSink = passing('rival', 'IxJS AsyncSink, gated', async () => {
  const { AsyncSink } = await import('ix/asynciterable')
  return async n => {
    const sink = new AsyncSink<number>()
    const summing = sumOf(sink)
    for (let item = 0; item < n; ) {
      for (const end = Math.min(n, item + capacity); item < end; ) sink.write(item++)
      await turn()
    }
    sink.end()
    return summing
  }
})

export const eventsOn = passing('rival', 'events.on, gated', async () => {
  return async n => {
    const emitter = new EventEmitter()
    let sum = 0
    const summing = (async () => {
      for await (const [item] of on(emitter, 'item', { close: ['end'] }) as AsyncIterable<[number]>) sum += item
    })()
    for (let item = 0; item < n; ) {
      for (const end = Math.min(n, item + capacity); item < end; ) emitter.emit('item', item++)
      await turn()
    }
    emitter.emit('end')
    await summing
    return sum
  }
})

export const generator = passing('rival', 'async generator', async () => n => {
  async function* numbers(): AsyncGenerator<number> {
    for (let item = 0; item < n; item++) yield item
  }
  return sumOf(numbers())
})

export const rxConcatMap = passing('rival', 'RxJS concatMap(async), gated', async () => {
  const { concatMap, lastValueFrom, Subject } = await import('rxjs')
  // oxlint-disable no-unmodified-loop-condition -- the subscriber counts
  return async n => {
    const subject = new Subject<number>()
    let sum = 0
    let done = 0
    const finished = lastValueFrom(
      subject.pipe(
        concatMap(async item => {
          sum += item
          done++
        }),
      ),
      { defaultValue: undefined },
    )
    for (let item = 0; item < n; ) {
      for (const end = Math.min(n, item + capacity); item < end; ) subject.next(item++)
      while (done < item) await turn()
    }
    subject.complete()
    await finished
    return sum
  }
})
