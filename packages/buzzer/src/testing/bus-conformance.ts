import { concurrency } from './bus-cases/concurrency.ts'
import { content } from './bus-cases/content.ts'
import { deadLetters } from './bus-cases/dead-letters.ts'
import { failure } from './bus-cases/failure.ts'
import { life } from './bus-cases/life.ts'
import { middleware } from './bus-cases/middleware.ts'
import { outbox } from './bus-cases/outbox.ts'
import { requests } from './bus-cases/requests.ts'
import { routing } from './bus-cases/routing.ts'
import { time } from './bus-cases/time.ts'
import { type BusCase, type BusConformanceOptions, BusWorld } from './conformance/bus-world.ts'
import type { ConformanceCase } from './conformance/case.ts'

export type { BusConformanceOptions } from './conformance/bus-world.ts'

const busCases: readonly BusCase[] = [
  ...routing,
  ...content,
  ...requests,
  ...failure,
  ...deadLetters,
  ...concurrency,
  ...outbox,
  ...time,
  ...life,
  ...middleware,
]

/**
 * What the bus promises on a transport, natively or by the core's fallbacks: one case per line of the checklist in spec bus
 * 6, each on queues of its own, so all may run at once against one broker. Runs on the real clock, with short times.
 * Depends on no test framework; see `runCases`.
 */
export function busConformance(options: BusConformanceOptions): readonly ConformanceCase[] {
  return busCases.map(one => ({
    name: `${options.name}: ${one.name}`,
    source: 'bus 6',
    async run() {
      const reason = options.exceptions?.[one.name]
      if (reason !== undefined) return { as: 'not-applicable', reason }
      const world = new BusWorld(options)
      await world.open()
      const inapplicable = one.needs?.(world)
      if (inapplicable !== undefined) return { as: 'not-applicable', reason: inapplicable }
      try {
        await one.run(world)
        return { as: 'passed' }
      } finally {
        await world.close()
      }
    },
  }))
}
