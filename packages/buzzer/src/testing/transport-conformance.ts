import { casesInWorlds, type ConformanceCase } from './conformance/case.ts'
import { type TransportCase, type TransportConformanceOptions, TransportWorld } from './conformance/transport-world.ts'
import { administration } from './transport-cases/administration.ts'
import { deduplication } from './transport-cases/deduplication.ts'
import { life } from './transport-cases/life.ts'
import { order } from './transport-cases/order.ts'
import { persistence } from './transport-cases/persistence.ts'
import { sending } from './transport-cases/sending.ts'
import { settling } from './transport-cases/settling.ts'
import { time } from './transport-cases/time.ts'
import { topology } from './transport-cases/topology.ts'
import { transactions } from './transport-cases/transactions.ts'

export type { TransportConformanceOptions } from './conformance/transport-world.ts'

const transportCases: readonly TransportCase[] = [
  ...life,
  ...topology,
  ...sending,
  ...settling,
  ...order,
  ...time,
  ...deduplication,
  ...transactions,
  ...administration,
  ...persistence,
]

/**
 * What every transport owes: one case per duty, each on queues of its own, so all may run at once against one broker.
 *
 * - Chosen by what the transport claims. A duty of a capability it does not claim is reported as not applicable with the
 *   reason, never left out in silence; the core's fallback for it is the business of `busConformance`.
 * - Runs on the real clock, with short times: lower limits are strict, upper ones generous.
 * - Depends on no test framework: run the cases yourself, or give them to yours with `runCases`.
 *
 * Source: spec bus 2, broker 15.
 */
export function transportConformance(options: TransportConformanceOptions): readonly ConformanceCase[] {
  const where = options.clients === 'two' ? `${options.name}, two clients` : options.name
  return casesInWorlds(where, transportCases, options.exceptions, () => new TransportWorld(options))
}
