import { startRedis } from 'buzzer-servers'
import { Flow } from '../flow.ts'
import { packageVersion } from '../machine.ts'
import type { Reading } from '../reading.ts'
import type { Contender } from '../suite.ts'
import type { Timed } from '../paced.ts'

const jobOptions = { removeOnComplete: true, removeOnFail: true }

export interface BullMqOptions {
  readonly appendfsync: 'everysec' | 'always'
  readonly inFlight: number
  /** Jobs of one `addBulk`. */
  readonly batch: number
  readonly concurrency: number
}

/** BullMQ as its guide says it is fastest: `addBulk`, one connection each way, finished jobs removed, high concurrency. */
export function bullmq(options: BullMqOptions): Contender {
  return {
    name: `BullMQ, AOF ${options.appendfsync}`,
    side: 'rival',
    durability: options.appendfsync === 'always' ? 'power loss' : 'process death; power loss takes 1 s',
    async setup({ folder }) {
      const { Queue, Worker } = await import('bullmq')
      const redis = await startRedis({ folder, appendfsync: options.appendfsync })
      const connection = { host: '127.0.0.1', port: redis.port, maxRetriesPerRequest: null }
      const queue = new Queue<Reading>('bench', { connection })
      const flow = new Flow({
        inFlight: options.inFlight,
        batch: options.batch,
        publish: readings => queue.addBulk(readings.map(data => ({ name: 'reading', data, opts: jobOptions }))),
      })
      const worker = new Worker<Reading>('bench', async () => undefined, {
        connection,
        concurrency: options.concurrency,
      })
      // Emitted once Redis has answered that the job is finished.
      worker.on('completed', job => flow.handled(job.data))
      await worker.waitUntilReady()
      return {
        facts: facts(redis.version, options),
        run: n => flow.run(n),
        async teardown() {
          await worker.close()
          await queue.close()
          await redis[Symbol.asyncDispose]()
        },
      }
    },
  }
}

/** Jobs at a steady pace on an otherwise idle queue: from the call of `add` to the start of the processor. */
export function bullmqPaced(appendfsync: 'everysec' | 'always', timed: Timed): Contender {
  return {
    name: `BullMQ, AOF ${appendfsync}`,
    side: 'rival',
    durability: appendfsync === 'always' ? 'power loss' : 'process death; power loss takes 1 s',
    async setup({ folder }) {
      const { Queue, Worker } = await import('bullmq')
      const redis = await startRedis({ folder, appendfsync })
      const connection = { host: '127.0.0.1', port: redis.port, maxRetriesPerRequest: null }
      const queue = new Queue<Reading>('bench', { connection })
      const rounds = timed(data => queue.add('reading', data, jobOptions))
      const worker = new Worker<Reading>('bench', async job => rounds.started(job.data), { connection })
      await worker.waitUntilReady()
      return {
        facts: facts(redis.version),
        run: n => rounds.run(n),
        async teardown() {
          await worker.close()
          await queue.close()
          await redis[Symbol.asyncDispose]()
        },
      }
    },
  }
}

function facts(redis: string, options?: BullMqOptions): Readonly<Record<string, string>> {
  const settings =
    options === undefined ? '' : `; addBulk of ${options.batch}, concurrency ${options.concurrency}, removeOnComplete`
  return {
    versions: `bullmq ${packageVersion('bullmq')}, ioredis ${packageVersion('ioredis')}, Redis ${redis}${settings}`,
  }
}
