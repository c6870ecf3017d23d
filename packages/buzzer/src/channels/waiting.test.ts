import { describe, expect, it } from 'vitest'
import { Channel, type ChannelReader, type ChannelWriter, type FullMode } from './index.ts'

describe('hints', () => {
  it('CH-19 waitToWrite with room answers true', async () => {
    expect(await Channel.bounded<number>(1).writer.waitToWrite()).toBe(true)
    expect(await Channel.unbounded<number>().writer.waitToWrite()).toBe(true)
  })

  it.each([0, 1, 3])('CH-20 capacity %i: 100 reads let 100 waitToWrite through', async capacity => {
    const channel = Channel.bounded<number>(capacity)
    for (let item = 0; item < capacity; item++) channel.writer.tryWrite(item)
    const waiting = Array.from({ length: 100 }, (_, index) =>
      channel.writer.waitToWrite(index % 2 === 0 ? undefined : { signal: new AbortController().signal }),
    )
    expect(channel.stats().waitingToWrite).toBe(100)
    const reads = Array.from({ length: 100 }, () => channel.reader.read().catch(() => -1))
    expect(await Promise.all(waiting)).toEqual(Array.from({ length: 100 }, () => true))
    expect(channel.stats().waitingToWrite).toBe(0)
    channel.writer.complete()
    await Promise.all(reads)
  })

  it('CH-21 waitToWrite answers true at once while a reader is blocked', async () => {
    for (const capacity of [0, 1]) {
      const { reader, writer } = Channel.bounded<number>(capacity)
      const read = reader.read()
      expect(await writer.waitToWrite()).toBe(true)
      expect(writer.tryWrite(1)).toBe(true)
      expect(await read).toBe(1)
    }
  })

  it('one buffered item wakes every waitToRead', async () => {
    const channel = Channel.unbounded<number>()
    const waiting = [channel.reader.waitToRead(), channel.reader.waitToRead(), channel.reader.waitToRead()]
    expect(channel.stats().waitingToRead).toBe(3)
    channel.writer.tryWrite(1)
    expect(await Promise.all(waiting)).toEqual([true, true, true])
    expect(channel.stats().waitingToRead).toBe(0)
  })

  it('an item handed to a blocked reader wakes no waitToRead', async () => {
    const channel = Channel.unbounded<number>()
    const read = channel.reader.read()
    void channel.reader.waitToRead()
    channel.writer.tryWrite(1)
    await read
    expect(channel.stats()).toMatchObject({ waitingToRead: 1, count: 0 })
  })

  it('room that a blocked writer takes wakes no waitToWrite', () => {
    const channel = Channel.bounded<number>(1)
    channel.writer.tryWrite(1)
    void channel.writer.write(2)
    void channel.writer.waitToWrite()
    channel.reader.tryRead()
    expect(channel.stats()).toMatchObject({ waitingToWrite: 1, pendingWrites: 0 })
    channel.reader.tryRead()
    expect(channel.stats().waitingToWrite).toBe(0)
  })

  it('CH-33 five rounds of wait, write and tryRead give the right item each', async () => {
    const { reader, writer } = Channel.bounded<number>(1)
    for (let round = 0; round < 5; round++) {
      const waiting = reader.waitToRead()
      await writer.write(round)
      expect(await waiting).toBe(true)
      expect(reader.tryRead()).toBe(round)
    }
  })
})

describe('blocked callers', () => {
  it.each(['tryWrite', 'write'] as const)('CH-32 100 blocked reads, 100 × %s: one each, in order', async member => {
    const channel = Channel.unbounded<number>()
    const reads = Array.from({ length: 100 }, () => channel.reader.read())
    for (let item = 0; item < 100; item++) {
      await channel.writer[member](item)
      expect(channel.stats()).toMatchObject({ pendingReads: 99 - item, count: 0 })
    }
    expect(await Promise.all(reads)).toEqual([...Array(100).keys()])
  })

  it('CH-48 two reads, or two waitToRead, at once are both served, in order', async () => {
    const { reader, writer } = Channel.unbounded<number>()
    const reads = [reader.read(), reader.read()]
    writer.tryWrite(1)
    writer.tryWrite(2)
    expect(await Promise.all(reads)).toEqual([1, 2])
    const waits = [reader.waitToRead(), reader.waitToRead()]
    writer.tryWrite(3)
    expect(await Promise.all(waits)).toEqual([true, true])
  })

  it('blocked writes are accepted first come, first served', async () => {
    const { reader, writer } = Channel.bounded<number>(1)
    const order: number[] = []
    const writes = [0, 1, 2, 3].map(item => writer.write(item).then(() => order.push(item)))
    for (let item = 0; item < 4; item++) expect(await reader.read()).toBe(item)
    await Promise.all(writes)
    expect(order).toEqual([0, 1, 2, 3])
  })
})

describe('order under load', () => {
  it('CH-34 capacity 1: 100,000 awaited items keep their order', async () => {
    const { reader, writer } = Channel.bounded<number>(1)
    const writing = (async () => {
      for (let item = 0; item < 100_000; item++) await writer.write(item)
    })()
    for (let item = 0; item < 100_000; item++) {
      const read = await reader.read()
      if (read !== item) expect.fail(`read ${read}, expected ${item}`)
    }
    await writing
    expect(reader.tryRead()).toBe(Channel.empty)
  })

  it('CH-35 two channels: 100,000 round trips echo', async () => {
    const there = Channel.bounded<number>(1)
    const back = Channel.bounded<number>(1)
    const echo = (async () => {
      for await (const item of there.reader) await back.writer.write(item)
    })()
    for (let item = 0; item < 100_000; item++) {
      await there.writer.write(item)
      const read = await back.reader.read()
      if (read !== item) expect.fail(`echoed ${read}, expected ${item}`)
    }
    there.writer.complete()
    await echo
  })

  it.each([
    [1, 1],
    [1, 10],
    [10, 1],
    [10, 10],
  ])(
    'CH-36 %i producers and %i consumers: the sum of 10,000 items is exact, all consumers end',
    async (makers, takers) => {
      const { reader, writer } = Channel.bounded<number>(16)
      let next = 0
      let sum = 0
      const producers = Array.from({ length: makers }, async () => {
        while (next < 10_000) await writer.write(++next)
      })
      const consumers = Array.from({ length: takers }, async () => {
        for await (const item of reader) sum += item
      })
      await Promise.all(producers)
      writer.complete()
      await Promise.all(consumers)
      expect(sum).toBe((10_000 * 10_001) / 2)
    },
  )

  it('CH-49 3 million items in bursts through a wait-and-try loop: order and count exact', async () => {
    const { reader, writer } = Channel.unbounded<number>()
    const total = 3_000_000
    const writing = (async () => {
      for (let item = 0; item < total; ) {
        for (const end = Math.min(total, item + 5_000); item < end; ) writer.tryWrite(item++)
        await Promise.resolve()
      }
      writer.complete()
    })()
    let expected = 0
    while (await reader.waitToRead()) {
      for (let item = reader.tryRead(); item !== Channel.empty; item = reader.tryRead()) {
        if (item !== expected++) expect.fail(`read ${item}, expected ${expected - 1}`)
      }
    }
    await writing
    expect(expected).toBe(total)
  })

  it.each([0, 1, 128])('CH-55 capacity %i: iteration gets all of a producer at work, then the end', async capacity => {
    const { reader, writer } = Channel.bounded<number>(capacity)
    const writing = (async () => {
      for (let item = 0; item < 1_000; item++) {
        await writer.write(item)
        if (item % 100 === 0) await new Promise(resolve => setImmediate(resolve))
      }
      writer.complete()
    })()
    expect(await Array.fromAsync(reader)).toEqual([...Array(1_000).keys()])
    await writing
  })
})

describe('every style with every other', () => {
  const readers: Record<string, (reader: ChannelReader<number>) => Promise<number[]>> = {
    read: async reader => {
      const items: number[] = []
      try {
        for (;;) items.push(await reader.read())
      } catch {
        return items
      }
    },
    'wait and try': async reader => {
      const items: number[] = []
      while (await reader.waitToRead()) {
        for (let item = reader.tryRead(); item !== Channel.empty; item = reader.tryRead()) items.push(item)
      }
      return items
    },
    // Over a rendezvous hints never meet hints: a reader that is owed an item is needed.
    'for await': reader => Array.fromAsync(reader),
    batches: async reader => (await Array.fromAsync(reader.batches({ max: 7 }))).flat(),
    consume: async reader => {
      const items: number[] = []
      await reader.consume(item => void items.push(item))
      return items
    },
    takeAvailable: async reader => {
      const items: number[] = []
      while (await reader.waitToRead()) items.push(...reader.takeAvailable(5))
      return items
    },
  }
  const writers: Record<string, (writer: ChannelWriter<number>, items: readonly number[]) => Promise<unknown>> = {
    write: async (writer, items) => {
      for (const item of items) await writer.write(item)
    },
    'write at once': (writer, items) => Promise.all(items.map(item => writer.write(item))),
    'wait and try': async (writer, items) => {
      for (const item of items) while (!writer.tryWrite(item)) await writer.waitToWrite()
    },
    writeAll: (writer, items) => writer.writeAll(items),
  }
  const channels: Record<string, () => Channel<number>> = {
    'capacity 0': () => Channel.bounded(0),
    'capacity 1': () => Channel.bounded(1),
    'capacity 64': () => Channel.bounded(64),
    weighed: () => Channel.bounded({ capacity: 10, weigh: item => item % 4 }),
    unbounded: () => Channel.unbounded(),
    prioritized: () => Channel.prioritized({ compare: (a, b) => a - b, capacity: 8 }),
  }
  const items = [...Array(500).keys()]
  const hintsOnly = new Set(['wait and try', 'takeAvailable'])

  for (const [kind, create] of Object.entries(channels)) {
    for (const [writerStyle, write] of Object.entries(writers)) {
      for (const [readerStyle, read] of Object.entries(readers)) {
        if (kind === 'capacity 0' && hintsOnly.has(readerStyle) && writerStyle === 'wait and try') continue
        it(`CH-31 wait loses nothing: ${kind}, ${writerStyle} → ${readerStyle}`, async () => {
          const { reader, writer } = create()
          const reading = read(reader)
          await write(writer, items)
          writer.complete()
          const got = await reading
          if (kind === 'prioritized') got.sort((a, b) => a - b)
          expect(got).toEqual(items)
        })
      }
    }
  }

  for (const fullMode of ['drop-newest', 'drop-oldest', 'drop-write'] satisfies FullMode[]) {
    for (const [readerStyle, read] of Object.entries(readers)) {
      it(`CH-31 ${fullMode} gives what was written, less what was dropped: ${readerStyle}`, async () => {
        const dropped: number[] = []
        const channel = Channel.bounded<number>({ capacity: 10, fullMode, onDrop: item => dropped.push(item) })
        const reading = read(channel.reader)
        for (const item of items) {
          channel.writer.tryWrite(item)
          if (item % 30 === 0) await new Promise(resolve => setImmediate(resolve))
        }
        channel.writer.complete()
        const got = await reading
        expect([...got, ...dropped].toSorted((a, b) => a - b)).toEqual(items)
        expect(got).toEqual(got.toSorted((a, b) => a - b))
      })
    }
  }
})
