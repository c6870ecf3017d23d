import type { Migration } from './migration.ts'
import { acceptSql } from './queue-functions/accept.ts'
import { claimSql } from './queue-functions/claim.ts'
import { lanesSql } from './queue-functions/lanes.ts'
import { lifeSql } from './queue-functions/life.ts'
import { settleSql } from './queue-functions/settle.ts'
import { timeSql } from './queue-functions/time.ts'

/**
 * The steps of the queues, each one statement and so one transaction and one round trip: `send`, `claim`, `settle`, `renew`
 * and `maintain`. All else is their parts. Source: spec transports 3, ADR 10.
 *
 * - Every time is the server's: what clients send was made so by `ServerTime`.
 * - Inside a function each statement has a snapshot of its own: lock first, look then.
 * - Rows are locked in the order of their keys; what others hold is skipped wherever it may be.
 * - The planner gets no choice: these tables are empty one minute and hold a million rows the next, and a plan made for the
 *   one is ruin in the other. Rows are found by a look-up for each that is named, in a sub-select that cannot be joined the
 *   other way round (`lateral`, with `offset 0` or a lock), and changed by the `ctid` found there.
 */
export const queueFunctions: Migration = {
  number: 3,
  name: 'queue functions',
  sql: schema => [timeSql, lanesSql, lifeSql, acceptSql, claimSql, settleSql].map(part => part(schema)).join('\n'),
}
