import { Flow } from '../flow.ts'
import { packageVersion } from '../machine.ts'
import type { Reading } from '../reading.ts'
import type { Contender } from '../suite.ts'
import { dropSchema, durability } from './postgres-server.ts'

export interface PgBossOptions {
  readonly inFlight: number
  /** Jobs of one `insert`; 1 is `send` for each. */
  readonly batch: number
  /** Jobs of one `fetch`, and of one `complete`. */
  readonly fetchBatch: number
  /** Loops of fetch, handle, complete that run side by side. */
  readonly workers: number
  readonly connections: number
  /** Strict order over so many keys. Default: none. */
  readonly keys?: number
}

/**
 * pg-boss by its batch calls: `insert`, `fetch`, `complete`. Its `work` waits half a second whenever a batch comes back short;
 * here a worker that finds nothing is woken by the next publish in this process, as early as any notification could.
 */
export function pgBoss(options: PgBossOptions): Contender {
  const { batch, fetchBatch, workers, connections, keys, inFlight } = options
  const queue = 'bench'
  return {
    name: `pg-boss${keys === undefined ? '' : ', strict order per key'}`,
    side: 'rival',
    durability,
    async setup(context) {
      const { url, version } = context.server('postgres')
      const { PgBoss } = await import('pg-boss')
      const schema = `buzzer_bench_pgboss_${process.pid}`
      const boss = new PgBoss({ connectionString: url, schema, max: connections, supervise: false, schedule: false })
      let wake: (() => void)[] = []
      let isRound = false
      const key = (data: Reading): object => (keys === undefined ? {} : { singletonKey: `key-${data.sequence % keys}` })
      const flow = new Flow({
        inFlight,
        batch,
        async publish(readings) {
          if (batch === 1) {
            const [data] = readings as [Reading]
            await boss.send(queue, data, key(data))
          } else {
            await boss.insert(
              queue,
              readings.map(data => ({ data, ...key(data) })),
            )
          }
          const woken = wake
          wake = []
          for (const each of woken) each()
        },
      })
      boss.on('error', error => flow.fail(error))
      await boss.start()
      await boss.createQueue(queue, keys === undefined ? {} : { policy: 'key_strict_fifo' })
      const stopping = new AbortController()
      const work = async (): Promise<void> => {
        while (!stopping.signal.aborted) {
          const jobs = await boss.fetch<Reading>(queue, { batchSize: fetchBatch })
          if (jobs.length === 0) {
            await new Promise<void>(resolve => {
              wake.push(resolve)
              // With keys a job may be held up by one that another worker completes: nothing is published then. Between
              // rounds it would only take the machine from the others.
              if (isRound) setTimeout(resolve, 5)
            })
            continue
          }
          await boss.complete(
            queue,
            jobs.map(({ id }) => id),
          )
          for (const { data } of jobs) flow.handled(data)
        }
      }
      const working = Array.from({ length: workers }, () => work().catch((error: unknown) => flow.fail(error)))
      const how = batch === 1 ? 'send for each' : `insert of ${batch}`
      return {
        facts: {
          versions: `pg-boss ${packageVersion('pg-boss')}, PostgreSQL ${version}; ${how}, fetch and complete of up to ${fetchBatch}, ${workers} workers, ${connections} connections`,
        },
        async run(n) {
          isRound = true
          await flow.run(n)
          isRound = false
        },
        async teardown() {
          stopping.abort()
          for (const each of wake) each()
          await Promise.all(working)
          await boss.stop({ graceful: false })
          await dropSchema(url, schema)
        },
      }
    },
  }
}
