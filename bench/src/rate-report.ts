import type { Round } from './contender-client.ts'
import type { CaseResult, ContenderResult } from './runner.ts'
import { median } from './statistics.ts'
import type { RateCase } from './suite.ts'
import { count, table } from './table.ts'

/** Rates with their spread, ratios, and bars. */
export function rateReport(bench: RateCase, result: CaseResult): readonly string[] {
  const lines = [...rateTable(bench, result)]
  const ratios = ratioTable(bench, result)
  if (ratios.length > 0) lines.push('', ...ratios)
  const bars = barLines(bench, result)
  if (bars.length > 0) lines.push('', ...bars)
  return lines
}

/** Operations per second (of wall clock or CPU) of each round. */
function rates(bench: RateCase, rounds: readonly Round[]): readonly number[] {
  return rounds.map(({ n, ms, cpuMs }) => (n / (bench.measure === 'per-cpu-second' ? cpuMs : ms)) * 1_000)
}

function rateTable(bench: RateCase, { results }: CaseResult): readonly string[] {
  const unit = bench.measure === 'per-cpu-second' ? 'per CPU second' : 'per second'
  const sized = results.every(({ contender }) => contender.bytes !== undefined)
  return table(
    ['contender', `${unit}, median`, 'lowest – highest', 'rounds', ...(sized ? ['µs each', 'MB/s'] : []), 'survives'],
    results.map(({ contender, rounds }) => {
      const all = rates(bench, rounds)
      const middle = median(all)
      return [
        contender.name,
        count(middle),
        `${count(Math.min(...all))} – ${count(Math.max(...all))}`,
        String(all.length),
        ...(sized ? [count(1e6 / middle), count((middle * (contender.bytes ?? Number.NaN)) / 1e6)] : []),
        contender.durability ?? '–',
      ]
    }),
  )
}

/** How many times a rival's figure each of ours is: the median of the ratios round by round, so drift cancels out. */
function ratio(bench: RateCase, ours: ContenderResult, other: ContenderResult): number {
  const left = rates(bench, ours.rounds)
  const right = rates(bench, other.rounds)
  return median(left.slice(0, right.length).map((rate, i) => rate / (right[i] ?? Number.NaN)))
}

function ratioTable(bench: RateCase, { results }: CaseResult): readonly string[] {
  const ours = results.filter(({ contender }) => contender.side === 'ours')
  const others = results.filter(({ contender }) => contender.side !== 'ours')
  const columns = [...others, ...(ours.length > 1 ? ours : [])]
  if (ours.length === 0 || columns.length === 0) return []
  return table(
    ['times the figure of →', ...columns.map(({ contender }) => contender.name)],
    ours.map(mine => [
      mine.contender.name,
      ...columns.map(other => (other === mine ? '–' : `${ratio(bench, mine, other).toFixed(2)}×`)),
    ]),
  )
}

function barLines(bench: RateCase, { results }: CaseResult): readonly string[] {
  const find = (name: string): ContenderResult | undefined => results.find(({ contender }) => contender.name === name)
  return (bench.bars ?? []).map(bar => {
    const ours = find(bar.ours)
    const rival = find(bar.rival)
    const aim = `${bar.ours} ≥ ${bar.atLeast}× ${bar.rival}`
    if (ours === undefined || rival === undefined) return `- not measured: ${aim}`
    const reached = ratio(bench, ours, rival)
    return `- ${reached >= bar.atLeast ? 'reached' : 'MISSED'}: ${aim}: ${reached.toFixed(2)}×`
  })
}
