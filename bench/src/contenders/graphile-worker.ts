import { Flow } from '../flow.ts'
import { packageVersion } from '../machine.ts'
import type { Reading } from '../reading.ts'
import type { Contender } from '../suite.ts'
import { dropSchema, durability } from './postgres-server.ts'

export interface GraphileWorkerOptions {
  readonly inFlight: number
  /** Jobs of one `addJobs`; 1 is `addJob` for each. */
  readonly batch: number
  readonly concurrentJobs: number
  /** Jobs that one query fetches ahead. */
  readonly localQueue: number
  /** How long a completed job waits for others to be written with; -1: it is written alone. */
  readonly completeDelayMs: number
  readonly connections: number
}

/** Graphile Worker in its batched mode: `addJobs`, the local queue, completions together. */
export function graphileWorker(options: GraphileWorkerOptions): Contender {
  const { inFlight, batch, concurrentJobs, localQueue, completeDelayMs, connections } = options
  return {
    name: 'graphile-worker',
    side: 'rival',
    durability,
    async setup(context) {
      const { url, version } = context.server('postgres')
      const { Logger, makeWorkerUtils, run } = await import('graphile-worker')
      const schema = `buzzer_bench_graphile_${process.pid}`
      const logger = new Logger(() => (level, message) => {
        if (level === 'error') flow.fail(new Error(message))
      })
      const sender = await makeWorkerUtils({ connectionString: url, schema, maxPoolSize: connections, logger })
      await sender.migrate()
      const flow = new Flow({
        inFlight,
        batch,
        publish: readings =>
          batch === 1
            ? sender.addJob('reading', readings[0])
            : sender.addJobs(readings.map(payload => ({ identifier: 'reading', payload }))),
      })
      const runner = await run({
        logger,
        noHandleSignals: true,
        preset: {
          worker: {
            connectionString: url,
            schema,
            maxPoolSize: connections,
            concurrentJobs,
            localQueue: { size: localQueue },
            completeJobBatchDelay: completeDelayMs,
          },
        },
        taskList: { reading: payload => flow.handled(payload as Reading) },
      })
      runner.promise.then(
        () => flow.fail(new Error('the runner has ended')),
        (error: unknown) => flow.fail(error),
      )
      const how = batch === 1 ? 'addJob for each' : `addJobs of ${batch}`
      return {
        facts: {
          versions: `graphile-worker ${packageVersion('graphile-worker')}, PostgreSQL ${version}; ${how}, ${concurrentJobs} jobs at once, local queue ${localQueue}, completions within ${completeDelayMs} ms, ${connections} connections`,
        },
        run: n => flow.run(n),
        async teardown() {
          await runner.stop()
          await sender.release()
          await dropSchema(url, schema)
        },
      }
    },
  }
}
