import type { CaseResult, ContenderResult } from './runner.ts'
import { median, percentile } from './statistics.ts'
import type { FigureBar, FigureCase, Figures } from './suite.ts'
import { count, table } from './table.ts'

/** Figures of each contender, and bars. */
export function figureReport(bench: FigureCase, result: CaseResult): readonly string[] {
  const lines = [...(bench.measure === 'latency' ? latencyTable(result) : figureTable(result))]
  const bars = (bench.bars ?? []).map(bar => barLine(bench, bar, result))
  if (bars.length > 0) lines.push('', ...bars)
  return lines
}

function latencyTable({ results }: CaseResult): readonly string[] {
  return table(
    ['contender', 'p50 ms', 'p99 ms', 'highest ms', 'p50 of the rounds', 'samples', 'survives'],
    results.map(result => {
      const { contender, rounds } = result
      const figures = latencies(result)
      const p50s = rounds.map(round => percentile(round.samples, 0.5))
      return [
        contender.name,
        ...Object.values(figures).map(value => value.toFixed(3)),
        `${Math.min(...p50s).toFixed(3)} – ${Math.max(...p50s).toFixed(3)}`,
        String(rounds.reduce((sum, { samples }) => sum + samples.length, 0)),
        contender.durability ?? '–',
      ]
    }),
  )
}

/** A row for each figure: the median of the rounds, and the spread where it is not all the same. */
function figureTable({ results }: CaseResult): readonly string[] {
  const names = [...new Set(results.flatMap(({ rounds }) => rounds.flatMap(({ figures }) => Object.keys(figures))))]
  const rows = names.map(name => [name, ...results.map(result => spread(result, name))])
  return table(
    ['figure', ...results.map(({ contender }) => contender.name)],
    [...rows, ['survives', ...results.map(({ contender }) => contender.durability ?? '–')]],
  )
}

function spread({ rounds }: ContenderResult, name: string): string {
  const values = rounds.map(({ figures }) => figures[name]).filter(value => value !== undefined)
  if (values.length === 0) return '–'
  const [lowest, highest] = [Math.min(...values), Math.max(...values)]
  return lowest === highest ? count(lowest) : `${count(median(values))} (${count(lowest)} – ${count(highest)})`
}

function latencies({ rounds }: ContenderResult): Figures {
  const samples = rounds.flatMap(round => round.samples)
  return {
    'p50 ms': percentile(samples, 0.5),
    'p99 ms': percentile(samples, 0.99),
    'highest ms': percentile(samples, 1),
  }
}

function figure(bench: FigureCase, result: ContenderResult | undefined, name: string): number | undefined {
  if (result === undefined) return undefined
  if (bench.measure === 'latency') return latencies(result)[name]
  const values = result.rounds.map(({ figures }) => figures[name]).filter(value => value !== undefined)
  return values.length === 0 ? undefined : median(values)
}

function barLine(bench: FigureCase, bar: FigureBar, { results }: CaseResult): string {
  const of = (contender: string, name: string): number | undefined =>
    figure(
      bench,
      results.find(each => each.contender.name === contender),
      name,
    )
  const { ours, atMost, comparedWith } = bar
  const value = of(ours, bar.figure)
  if (comparedWith === undefined) return verdict(`${ours}: ${bar.figure} ≤ ${atMost}`, value, atMost, '')
  const { as, contender = ours, figure: otherFigure = bar.figure } = comparedWith
  const other = of(contender, otherFigure)
  const otherName = contender === ours ? `its ${otherFigure}` : `that of ${contender}`
  if (value === undefined || other === undefined)
    return verdict(`${ours}: ${bar.figure} beside ${otherName}`, undefined, atMost, '')
  switch (as) {
    case 'above':
      return verdict(`${ours}: ${bar.figure} ≤ ${atMost} above ${otherName}`, value - other, atMost, '')
    case 'times':
      return verdict(`${ours}: ${bar.figure} ≤ ${atMost}× ${otherName}`, value / other, atMost, '×')
    default:
      return as satisfies never
  }
}

function verdict(aim: string, reached: number | undefined, atMost: number, unit: string): string {
  if (reached === undefined) return `- not measured: ${aim}`
  return `- ${reached <= atMost ? 'reached' : 'MISSED'}: ${aim}: ${reached.toFixed(2)}${unit}`
}
