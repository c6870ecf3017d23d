import { describe, expect, test } from 'vitest'
import type { Round } from './contender-client.ts'
import { reportCase } from './report.ts'
import { median, percentile } from './statistics.ts'
import type { Contender, FigureBar, FigureCase, RateCase } from './suite.ts'

const contender = (name: string, side: Contender['side']): Contender => ({
  name,
  side,
  durability: 'power loss',
  setup: () => Promise.reject(new Error('not started here')),
})
const round = (ms: number): Round => ({ n: 1_000, ms, cpuMs: ms * 2, samples: [ms], figures: { 'start ms': ms } })
const rounds = (...ms: number[]): Round[] => ms.map(round)
const ours = contender('embedded', 'ours')
const rival = contender('rival', 'rival')
const floor = contender('bare fdatasync', 'floor')
const bench: RateCase = {
  name: 'a case',
  operation: 'message',
  measure: 'per-second',
  contenders: [ours, rival],
  bars: [
    { ours: 'embedded', rival: 'rival', atLeast: 3 },
    { ours: 'embedded', rival: 'rival', atLeast: 5 },
    { ours: 'embedded', rival: 'absent', atLeast: 2 },
  ],
}
const result = {
  results: [
    { contender: ours, facts: {}, rounds: rounds(10, 20, 10) },
    { contender: rival, facts: { versions: 'rival 1.0' }, rounds: rounds(40, 80, 20) },
  ],
  leftOut: [{ contender: 'absent', reason: 'no server\n  at setup' }],
}
const figures = (measure: FigureCase['measure'], ...bars: FigureBar[]): FigureCase => ({
  name: 'a case',
  operation: 'message',
  measure,
  contenders: [ours, rival],
  bars,
})

describe('a report of rates', () => {
  test('tells median and spread, what is survived, and who was left out and why', () => {
    const text = reportCase(bench, result)
    expect(text).toMatch(/\| embedded +\| 100,000 +\| 50,000 – 100,000 +\| 3 +\| power loss \|/)
    expect(text).toContain('Left out: **absent**: no server\n')
    expect(text).toContain('- rival: versions rival 1.0')
  })

  test('takes ratios round by round, so that a slow minute of the machine cancels out', () => {
    const text = reportCase(bench, result)
    expect(text).toMatch(/\| embedded +\| 4\.00× \|/)
    expect(text).toContain('- reached: embedded ≥ 3× rival: 4.00×')
    expect(text).toContain('- MISSED: embedded ≥ 5× rival: 4.00×')
    expect(text).toContain('- not measured: embedded ≥ 2× absent')
  })

  test('counts CPU time where the case says so', () => {
    expect(reportCase({ ...bench, measure: 'per-cpu-second' }, result)).toMatch(/\| embedded +\| 50,000 +\|/)
  })

  test('tells the cost of each message and the bytes where contenders differ in their size', () => {
    const sized = { contender: { ...ours, bytes: 2_000 }, facts: {}, rounds: rounds(10, 20, 10) }
    expect(reportCase(bench, { results: [sized], leftOut: [] })).toMatch(
      /\| embedded +\| 100,000 .*\| 10\.0 +\| 200 +\| power loss/,
    )
  })
})

describe('a report of latencies', () => {
  test('tells percentiles', () => {
    expect(reportCase(figures('latency'), result)).toMatch(/\| embedded +\| 10\.000 +\| 20\.000 +\| 20\.000 /)
  })

  test('tells by how much a percentile exceeds the floor’s, and how many times another of its own it is', () => {
    const withFloor = {
      ...result,
      results: [{ contender: floor, facts: {}, rounds: rounds(4, 4, 4) }, ...result.results],
    }
    const above = { as: 'above', contender: 'bare fdatasync' } as const
    const text = reportCase(
      figures(
        'latency',
        { ours: 'embedded', figure: 'p50 ms', atMost: 5, comparedWith: above },
        { ours: 'embedded', figure: 'p50 ms', atMost: 6, comparedWith: above },
        { ours: 'embedded', figure: 'p99 ms', atMost: 10, comparedWith: { as: 'times', figure: 'p50 ms' } },
        { ours: 'embedded', figure: 'highest ms', atMost: 19 },
        { ours: 'absent', figure: 'p50 ms', atMost: 1, comparedWith: above },
      ),
      withFloor,
    )
    expect(text).toContain('- MISSED: embedded: p50 ms ≤ 5 above that of bare fdatasync: 6.00\n')
    expect(text).toContain('- reached: embedded: p50 ms ≤ 6 above that of bare fdatasync: 6.00\n')
    expect(text).toContain('- reached: embedded: p99 ms ≤ 10× its p50 ms: 2.00×')
    expect(text).toContain('- MISSED: embedded: highest ms ≤ 19: 20.00')
    expect(text).toContain('- not measured: absent: p50 ms beside that of bare fdatasync')
  })
})

test('a report of figures has a row for each, the median of the rounds with its spread, and bars', () => {
  const bar: FigureBar = {
    ours: 'embedded',
    figure: 'start ms',
    atMost: 0.5,
    comparedWith: { as: 'times', contender: 'rival' },
  }
  const text = reportCase(figures('figures', bar), result)
  expect(text).toMatch(/\| figure +\| embedded +\| rival +\|/)
  expect(text).toMatch(/\| start ms +\| 10\.0 \(10\.0 – 20\.0\) +\| 40\.0 \(20\.0 – 80\.0\) +\|/)
  expect(text).toContain('- reached: embedded: start ms ≤ 0.5× that of rival: 0.25×')
})

test('median and percentiles are by nearest rank, and the mean of the middle two', () => {
  expect([median([3, 1, 2]), median([4, 1, 2, 3]), percentile([5, 1, 3], 0.5), percentile([1, 2, 3, 4], 0.99)]).toEqual(
    [2, 2.5, 3, 4],
  )
})
