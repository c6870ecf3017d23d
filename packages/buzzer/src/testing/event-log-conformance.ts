import { casesInWorlds, type ConformanceCase } from './conformance/case.ts'
import { type EventLogConformanceOptions, type LogCase, LogWorld } from './conformance/log-world.ts'
import { appending } from './log-cases/appending.ts'
import { expecting } from './log-cases/expecting.ts'
import { keeping } from './log-cases/keeping.ts'
import { life } from './log-cases/life.ts'
import { reading } from './log-cases/reading.ts'
import { repeating } from './log-cases/repeating.ts'
import { topology } from './log-cases/topology.ts'

export type { EventLogConformanceOptions } from './conformance/log-world.ts'

const logCases: readonly LogCase[] = [
  ...appending,
  ...reading,
  ...expecting,
  ...repeating,
  ...topology,
  ...keeping,
  ...life,
]

/**
 * What every event log owes: one case per promise, each on streams of its own, so all but those that restart may run at
 * once against one log. Cases for capabilities a log does not claim are reported as not applicable with the reason. Runs on
 * the real clock and depends on no test framework; see `runCases`. Source: spec streams 2 to 4 and 9.
 */
export function eventLogConformance(options: EventLogConformanceOptions): readonly ConformanceCase[] {
  return casesInWorlds(options.name, logCases, options.exceptions, () => new LogWorld(options))
}
