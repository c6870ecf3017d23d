import { figureReport } from './figure-report.ts'
import { rateReport } from './rate-report.ts'
import type { CaseResult } from './runner.ts'
import type { BenchCase, RateCase } from './suite.ts'

/** The report of one case, in Markdown: figures, ratios, bars, and what was left out. */
export function reportCase(bench: BenchCase, result: CaseResult): string {
  const lines = [`### ${bench.name}`, '', `One ${bench.operation}.`, '']
  lines.push(...(isRateCase(bench) ? rateReport(bench, result) : figureReport(bench, result)))
  for (const { contender, reason } of result.leftOut)
    lines.push('', `Left out: **${contender}**: ${reason.split('\n')[0]}`)
  const facts = result.results.flatMap(({ contender, facts }) =>
    Object.entries(facts).map(([name, value]) => `${contender.name}: ${name} ${value}`),
  )
  if (facts.length > 0) lines.push('', ...facts.map(fact => `- ${fact}`))
  return lines.join('\n')
}

function isRateCase(bench: BenchCase): bench is RateCase {
  return bench.measure === 'per-second' || bench.measure === 'per-cpu-second'
}
