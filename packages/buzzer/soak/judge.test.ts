import { describe, expect, it } from 'vitest'
import { judgeSoak } from './judge.ts'
import type { Sample } from './sample.ts'

const mebibyte = 1024 * 1024

function run(change: (progress: number) => Partial<Sample> = () => ({})): Sample[] {
  return Array.from({ length: 30 }, (_, seconds) => ({
    seconds,
    rate: 1_000,
    memoryBytes: 100 * mebibyte,
    databaseBytes: 40 * mebibyte,
    walBytes: 24 * mebibyte,
    ...change(seconds / 30),
  }))
}

const broken = (samples: readonly Sample[]): string[] =>
  judgeSoak(samples, 1_000)
    .filter(({ holds }) => !holds)
    .map(({ what }) => what)

describe('the judge of a soak', () => {
  it('finds nothing in a level run, a steep warm-up included', () => {
    expect(broken(run())).toEqual([])
    expect(broken(run(progress => (progress < 0.2 ? { memoryBytes: mebibyte, rate: 10 } : {})))).toEqual([])
  })

  it('finds what grows, and what breaks its limit once', () => {
    expect(broken(run(progress => ({ memoryBytes: (100 + 120 * progress) * mebibyte })))).toEqual(['memory level'])
    expect(broken(run(progress => ({ databaseBytes: (40 + 120 * progress) * mebibyte })))).toEqual(['database level'])
    expect(broken(run(progress => (progress === 0.5 ? { walBytes: 65 * mebibyte } : {})))).toEqual([
      'write-ahead file below 64 MiB',
    ])
  })

  it('finds one slow tenth', () => {
    expect(broken(run(progress => (progress >= 0.5 && progress < 0.6 ? { rate: 800 } : {})))).toEqual([
      'rate within 10 % of 1000/s',
    ])
  })

  it('refuses to judge next to nothing', () => {
    expect(() => judgeSoak(run().slice(0, 3), 1)).toThrow(RangeError)
  })
})
