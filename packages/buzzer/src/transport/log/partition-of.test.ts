import { describe, expect, it } from 'vitest'
import { murmur2, partitionOf } from './partition-of.ts'

describe('partitionOf', () => {
  it.each([
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ])('murmur2 of %s is that of the Java client (Kafka, UtilsTest)', (key, hash) => {
    expect(murmur2(Buffer.from(key))).toBe(hash)
  })

  it('takes the UTF-8 of the key, clears the sign and spreads keys over all partitions', () => {
    expect(partitionOf('21', 12)).toBe((-973932308 & 0x7fffffff) % 12)
    expect(partitionOf('grün', 1_000)).toBe((murmur2(Buffer.from([103, 114, 0xc3, 0xbc, 110])) & 0x7fffffff) % 1_000)
    const counts = Array.from({ length: 8 }, () => 0)
    for (let n = 0; n < 8_000; n++)
      counts[partitionOf(`order-${n}`, 8)] = (counts[partitionOf(`order-${n}`, 8)] ?? 0) + 1
    expect(Math.min(...counts)).toBeGreaterThan(800)
    expect(counts.reduce((sum, count) => sum + count)).toBe(8_000)
  })

  it('has one answer with one partition', () => {
    expect(['', 'a', '🚀'].map(key => partitionOf(key, 1))).toEqual([0, 0, 0])
  })
})
