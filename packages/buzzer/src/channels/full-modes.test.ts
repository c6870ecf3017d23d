import { describe, expect, it } from 'vitest'
import { Channel, type FullMode } from './index.ts'

const dropModes: FullMode[] = ['drop-newest', 'drop-oldest', 'drop-write']

function fill(channel: Channel<number>, items: number): boolean[] {
  return Array.from({ length: items }, (_, item) => channel.writer.tryWrite(item))
}

describe('full modes', () => {
  it('CH-37 count is exact through writing, overfilling, completing and reading', async () => {
    const { reader, writer } = Channel.bounded<number>(3)
    const counts: number[] = [reader.count]
    for (let item = 0; item < 4; item++) {
      writer.tryWrite(item)
      counts.push(reader.count)
    }
    const blocked = writer.write(9)
    counts.push(reader.count)
    reader.tryRead()
    await blocked
    counts.push(reader.count)
    writer.complete()
    while (reader.tryRead() !== Channel.empty) counts.push(reader.count)
    expect(counts).toEqual([0, 1, 2, 3, 3, 3, 3, 2, 1, 0])
  })

  it('CH-39 wait: a full channel refuses try writes and keeps its order', () => {
    const channel = Channel.bounded<number>(5)
    expect(fill(channel, 7)).toEqual([true, true, true, true, true, false, false])
    expect(channel.reader.takeAvailable()).toEqual([0, 1, 2, 3, 4])
    expect(channel.reader.tryRead()).toBe(Channel.empty)
  })

  it('CH-40 drop-oldest keeps the last N, in order', () => {
    const channel = Channel.bounded<number>({ capacity: 5, fullMode: 'drop-oldest' })
    expect(fill(channel, 10).every(Boolean)).toBe(true)
    expect(channel.reader.takeAvailable()).toEqual([5, 6, 7, 8, 9])
  })

  it('CH-41 drop-write keeps the first N and reports success', () => {
    const channel = Channel.bounded<number>({ capacity: 5, fullMode: 'drop-write' })
    expect(fill(channel, 10).every(Boolean)).toBe(true)
    expect(channel.reader.takeAvailable()).toEqual([0, 1, 2, 3, 4])
  })

  it('drop-newest replaces the most recently buffered item', () => {
    const channel = Channel.bounded<number>({ capacity: 5, fullMode: 'drop-newest' })
    expect(fill(channel, 10).every(Boolean)).toBe(true)
    expect(channel.reader.takeAvailable()).toEqual([0, 1, 2, 3, 9])
  })

  it.each(dropModes)('CH-42 %s: write settles without waiting, with the result of tryWrite', async fullMode => {
    const written = Channel.bounded<number>({ capacity: 3, fullMode })
    const tried = Channel.bounded<number>({ capacity: 3, fullMode })
    for (let item = 0; item < 8; item++) {
      tried.writer.tryWrite(item)
      await written.writer.write(item)
      expect(await written.writer.waitToWrite()).toBe(true)
    }
    expect(written.reader.takeAvailable()).toEqual(tried.reader.takeAvailable())
  })

  it('CH-43 wait never calls onDrop, and a drop mode without onDrop just drops', () => {
    const dropped: number[] = []
    fill(Channel.bounded<number>({ capacity: 2, onDrop: item => dropped.push(item) }), 5)
    expect(dropped).toEqual([])
    for (const fullMode of dropModes) expect(() => fill(Channel.bounded({ capacity: 2, fullMode }), 5)).not.toThrow()
  })

  it.each(dropModes)('CH-44 %s: onDrop is told of exactly the 10 of 20 items that went', fullMode => {
    const dropped: number[] = []
    const channel = Channel.bounded<number>({ capacity: 10, fullMode, onDrop: item => dropped.push(item) })
    fill(channel, 10)
    expect(dropped).toEqual([])
    fill(channel, 10)
    expect(dropped).toHaveLength(10)
    expect([...dropped, ...channel.reader.takeAvailable()].toSorted((a, b) => a - b)).toEqual(
      [...Array(20).keys()].map(item => item % 10).toSorted((a, b) => a - b),
    )
    expect(channel.stats()).toMatchObject({ written: 20, taken: 10, dropped: 10, count: 0 })
  })

  it('onDrop may use the channel, which is whole by then', () => {
    const seen: number[] = []
    const channel: Channel<number> = Channel.bounded<number>({
      capacity: 2,
      fullMode: 'drop-oldest',
      onDrop: item => {
        seen.push(item, channel.reader.count)
        if (item === 0) channel.writer.tryWrite(10)
      },
    })
    fill(channel, 3)
    expect(seen).toEqual([0, 2, 1, 2])
    expect(channel.reader.takeAvailable()).toEqual([2, 10])
  })

  it('what onDrop throws escapes from tryWrite and rejects write, although the write took effect', async () => {
    const broken = new Error('onDrop')
    const { reader, writer } = Channel.bounded<number>({
      capacity: 1,
      fullMode: 'drop-oldest',
      onDrop: () => {
        throw broken
      },
    })
    writer.tryWrite(1)
    expect(() => writer.tryWrite(2)).toThrow(broken)
    await expect(writer.write(3)).rejects.toBe(broken)
    expect(reader.takeAvailable()).toEqual([3])
  })

  it('a blocked reader is served directly, whatever the mode: nothing is dropped, count stays 0', async () => {
    for (const fullMode of dropModes) {
      const channel = Channel.bounded<number>({ capacity: 1, fullMode, onDrop: () => expect.fail('dropped') })
      const read = channel.reader.read()
      channel.writer.tryWrite(1)
      expect(channel.reader.count).toBe(0)
      expect(await read).toBe(1)
    }
  })

  it('a loop of tryRead alone empties buffer and blocked writers', async () => {
    const { reader, writer } = Channel.bounded<number>(2)
    const writes = [1, 2, 3, 4, 5].map(item => writer.write(item))
    expect(reader.takeAvailable()).toEqual([1, 2, 3, 4, 5])
    await Promise.all(writes)
  })
})

describe('weights', () => {
  it('CH-66 3, 3, 5 into 6: the last is blocked, order is kept; one of 10 fits an empty channel alone', async () => {
    const channel = Channel.bounded<number>({ capacity: 6, weigh: item => item })
    const { reader, writer } = channel
    expect([writer.tryWrite(3), writer.tryWrite(3), writer.tryWrite(5)]).toEqual([true, true, false])
    const blocked = writer.write(5)
    expect(writer.tryWrite(0)).toBe(false)
    expect(reader.tryRead()).toBe(3)
    expect(channel.stats()).toMatchObject({ weight: 3, pendingWrites: 1 })
    expect(reader.tryRead()).toBe(3)
    await blocked
    expect(channel.stats()).toMatchObject({ weight: 5, count: 1 })
    expect(reader.takeAvailable()).toEqual([5])
    expect(writer.tryWrite(10)).toBe(true)
    expect(writer.tryWrite(0)).toBe(false)
  })

  it('the drop modes evict as many as needed, and tell of each', () => {
    for (const [fullMode, left, gone] of [
      ['drop-oldest', [2, 5], [1, 3]],
      ['drop-newest', [1, 5], [2, 3]],
      ['drop-write', [1, 3, 2], [5]],
    ] as const) {
      const dropped: number[] = []
      const channel = Channel.bounded<number>({
        capacity: 7,
        fullMode,
        weigh: item => item,
        onDrop: item => dropped.push(item),
      })
      for (const item of [1, 3, 2, 5]) channel.writer.tryWrite(item)
      expect(dropped).toEqual(gone)
      expect(channel.stats().weight).toBe(left.reduce((sum: number, item) => sum + item, 0))
      expect(channel.reader.takeAvailable()).toEqual(left)
    }
  })

  it('weigh is asked once per item and must answer a number ≥ 0', async () => {
    let asked = 0
    const { reader, writer } = Channel.bounded<number>({ capacity: 2, weigh: item => (asked++, item) })
    await writer.writeAll([1, 1])
    const blocked = writer.write(1)
    reader.takeAvailable()
    await blocked
    expect(asked).toBe(3)
    expect(() => writer.tryWrite(-1)).toThrow(RangeError)
    await expect(writer.write(NaN)).rejects.toThrow('weigh must answer a number')
  })
})

describe('priorities', () => {
  it.each([
    ['lowest', (a: number, b: number) => a - b, [1, 1, 2, 3, 4, 5, 9]],
    ['highest', (a: number, b: number) => b - a, [9, 5, 4, 3, 2, 1, 1]],
  ])('CH-50 %s first, with exact counts', (_, compare, sorted) => {
    const { reader, writer } = Channel.prioritized<number>({ compare })
    for (const item of [3, 1, 4, 1, 5, 9, 2]) writer.tryWrite(item)
    expect(reader.count).toBe(7)
    expect(reader.tryRead()).toBe(sorted[0])
    writer.tryWrite(sorted[0] as number)
    expect(reader.takeAvailable()).toEqual(sorted)
    expect(reader.count).toBe(0)
  })

  it('equal items are read in the order of acceptance', () => {
    for (const fullMode of ['wait', 'drop-last'] as const) {
      const { reader, writer } = Channel.prioritized<[number, number]>({
        compare: ([a], [b]) => a - b,
        capacity: 1_000,
        fullMode,
      })
      for (let index = 0; index < 500; index++) writer.tryWrite([(index * 7) % 5, index])
      const items = reader.takeAvailable()
      const expected = items.toSorted(([a, i], [b, j]) => a - b || i - j)
      expect(items).toEqual(expected)
      expect(items).toHaveLength(500)
    }
  })

  it('blocked writes of a bounded one come in first come, first served', async () => {
    const { reader, writer } = Channel.prioritized<number>({ compare: (a, b) => a - b, capacity: 2 })
    const writes = [5, 4, 9, 1].map(item => writer.write(item))
    expect(reader.takeAvailable()).toEqual([4, 5, 1, 9])
    await Promise.all(writes)
  })

  it('CH-67 drop-last drops the worst of all, equal ones youngest first', () => {
    const dropped: string[] = []
    const { reader, writer } = Channel.prioritized<string>({
      compare: (a, b) => a.charCodeAt(0) - b.charCodeAt(0),
      capacity: 3,
      fullMode: 'drop-last',
      onDrop: item => dropped.push(item),
    })
    for (const item of ['b1', 'd1', 'c1', 'a1', 'z1', 'c2', 'b2', 'b3']) writer.tryWrite(item)
    expect(dropped).toEqual(['d1', 'z1', 'c2', 'c1', 'b3'])
    expect(reader.takeAvailable()).toEqual(['a1', 'b1', 'b2'])
  })

  it('a compare that throws loses and stores nothing', () => {
    let broken = false
    const { reader, writer } = Channel.prioritized<number>({
      compare: (a, b) => {
        if (broken) throw new Error('compare')
        return a - b
      },
    })
    for (const item of [5, 3, 8, 1]) writer.tryWrite(item)
    broken = true
    expect(() => writer.tryWrite(2)).toThrow('compare')
    expect(() => reader.tryRead()).toThrow('compare')
    broken = false
    expect(reader.takeAvailable()).toEqual([1, 3, 5, 8])
  })
})

describe('rendezvous', () => {
  it('CH-51 count is always 0, and writes settle one by one as they are read', async () => {
    const { reader, writer } = Channel.bounded<number>(0)
    const settled: number[] = []
    const writes = [1, 2].map(item => writer.write(item).then(() => settled.push(item)))
    expect(reader.count).toBe(0)
    expect(reader.tryPeek()).toBe(1)
    expect(await reader.read()).toBe(1)
    await writes[0]
    expect(settled).toEqual([1])
    expect(await reader.read()).toBe(2)
    await writes[1]
    expect(reader.count).toBe(0)
  })

  it('CH-52 nobody there: try calls answer false and empty', () => {
    const { reader, writer } = Channel.rendezvous<number>()
    expect(writer.tryWrite(1)).toBe(false)
    expect([reader.tryRead(), reader.tryPeek()]).toEqual([Channel.empty, Channel.empty])
  })

  it('CH-53 a drop mode without a reader: success, and onDrop is told', async () => {
    for (const fullMode of dropModes) {
      const dropped: number[] = []
      const channel = Channel.bounded<number>({ capacity: 0, fullMode, onDrop: item => dropped.push(item) })
      expect(channel.writer.tryWrite(1)).toBe(true)
      await channel.writer.write(2)
      expect(dropped).toEqual([1, 2])
      const read = channel.reader.read()
      channel.writer.tryWrite(3)
      expect(await read).toBe(3)
      expect(dropped).toEqual([1, 2])
    }
  })

  it('waitToWrite is true only while a reader is blocked, waitToRead only while a writer is', async () => {
    const { reader, writer } = Channel.rendezvous<number>()
    let woken = 0
    void writer.waitToWrite().then(() => woken++)
    void reader.waitToRead().then(() => woken++)
    for (let tick = 0; tick < 20; tick++) await Promise.resolve()
    expect(woken).toBe(0)
    const read = reader.read()
    expect(await writer.waitToWrite()).toBe(true)
    writer.tryWrite(1)
    expect(await read).toBe(1)
    const write = writer.write(2)
    expect(await reader.waitToRead()).toBe(true)
    expect(woken).toBe(2)
    expect(reader.tryRead()).toBe(2)
    await write
  })
})
