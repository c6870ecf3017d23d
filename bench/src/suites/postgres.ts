import { buzzer } from '../contenders/buzzer.ts'
import { graphileWorker } from '../contenders/graphile-worker.ts'
import { pgBoss } from '../contenders/pg-boss.ts'
import { postgresServer } from '../contenders/postgres-server.ts'
import { transportAlone } from '../contenders/transport-alone.ts'
import type { RatioBar, Suite } from '../suite.ts'

const ours = { transport: 'postgres', inFlight: 1_000, concurrency: 256, prefetch: 1_000 } as const
const keys = 1_000
// The fastest of the settings tried on a busy machine (1,416 to 2,597 a second): batches of 100 to 1,000 by one to four
// workers, up to 4,000 in flight.
const pgBossSettings = { batch: 250, fetchBatch: 250, workers: 4, connections: 10 }
// Of batches of 100 to 500, 100 to 500 jobs at once, a local queue of 200 to 1,000 and completions within 0 to 5 ms; half as
// many jobs per second with 100 jobs at once.
const graphileSettings = {
  batch: 500,
  concurrentJobs: 500,
  localQueue: 500,
  completeDelayMs: 5,
  connections: 10,
}

/** Against each rival, so the better of them decides. */
function bars(name: string, atLeast: number): readonly RatioBar[] {
  return ['pg-boss', 'graphile-worker'].map(rival => ({ ours: name, rival, atLeast }))
}

export const suite: Suite = {
  title: '@buzzer/postgres beside pg-boss and Graphile Worker',
  cases: [
    {
      name: 'publish → handle → acknowledge, rivals in their batched modes',
      operation: `JSON message of 200 bytes published, handled and acknowledged; ${ours.inFlight} in flight`,
      measure: 'per-second',
      servers: { postgres: postgresServer },
      contenders: [
        buzzer({ ...ours, name: '@buzzer/postgres' }),
        transportAlone({ name: '@buzzer/postgres, transport, arrays', ...ours, batch: 500 }),
        buzzer({ ...ours, name: '@buzzer/postgres, order per key', keys }),
        pgBoss({ inFlight: ours.inFlight, ...pgBossSettings }),
        pgBoss({ inFlight: ours.inFlight, ...pgBossSettings, keys }),
        graphileWorker({ inFlight: ours.inFlight, ...graphileSettings }),
      ],
      bars: [...bars('@buzzer/postgres', 5), ...bars('@buzzer/postgres, order per key', 1)],
    },
    {
      name: 'one publish per call, 50 in flight',
      operation: 'JSON message of 200 bytes published by a call of its own, handled and acknowledged; 50 in flight',
      measure: 'per-second',
      servers: { postgres: postgresServer },
      contenders: [
        buzzer({ ...ours, name: '@buzzer/postgres', inFlight: 50, concurrency: 50, prefetch: 50 }),
        pgBoss({ inFlight: 50, batch: 1, fetchBatch: 50, workers: 2, connections: 10 }),
        graphileWorker({
          inFlight: 50,
          batch: 1,
          concurrentJobs: 50,
          localQueue: 50,
          completeDelayMs: 0,
          connections: 10,
        }),
      ],
      bars: bars('@buzzer/postgres', 10),
    },
  ],
}
