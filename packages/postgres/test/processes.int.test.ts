import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { machineClock } from 'buzzer/testing'
import { service } from 'buzzer-servers'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { ChaosRun } from './chaos-run.ts'
import { ownSchema } from './own-schema.ts'

const { url = '' } = await service('postgres')
const script = fileURLToPath(new URL('./worker-process.ts', import.meta.url))
const leaseMs = 2_000
const timeoutMs = 120_000

interface Job {
  readonly queue: string
  readonly orderBy: 'none' | 'key'
  readonly maxInFlight: number
  readonly poison?: string
}

describe.skipIf(url === '')('several processes', () => {
  const world = ownSchema(url)
  afterAll(() => world[Symbol.asyncDispose]())
  let born = 0

  async function start(run: ChaosRun, job: Job): Promise<{ readonly name: string; readonly child: ChildProcess }> {
    const name = `worker${++born}`
    const order = { ...job, name, url, schema: world.schema, folder: run.folder, leaseMs }
    const child = fork(script, [JSON.stringify(order)], { execArgv: ['--conditions=buzzer-source'], stdio: 'inherit' })
    onTestFinished(() => void child.kill('SIGKILL'))
    await Promise.race([once(child, 'message'), once(child, 'exit')])
    return { name, child }
  }

  async function kill(
    run: ChaosRun,
    { name, child }: { readonly name: string; readonly child: ChildProcess },
  ): Promise<void> {
    run.write({ as: 'killed', process: name, at: machineClock.monotonic() })
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
    run.write({ as: 'dead', process: name, at: machineClock.monotonic() })
  }

  test(
    'RP4 key order over three processes with SIGKILL, SIGSTOP, retries and releases',
    async () => {
      await using run = new ChaosRun({ connectionString: url, schema: world.schema, leaseMs })
      const producer = await run.client('producer')
      const queue = await run.queue('ordered', 'key')
      const job = { queue, orderBy: 'key', maxInFlight: 20 } as const
      const [first, second, third] = [await start(run, job), await start(run, job), await start(run, job)]
      const producing = run.produce(producer, 1_200, 20, n => run.message(queue, { key: `k${n % 12}` }))
      await sleep(700)
      await kill(run, first)
      run.write({ as: 'stopped', process: second.name, at: machineClock.monotonic(), what: 'process' })
      second.child.kill('SIGSTOP')
      const replacement = await start(run, job)
      await sleep(leaseMs + 1_000)
      second.child.kill('SIGCONT')
      run.write({ as: 'continued', process: second.name, at: machineClock.monotonic(), what: 'process' })
      await producing
      expect(run.confirmed).toBe(1_200)
      expect(await run.judge({ lockMs: leaseMs })).toEqual([])
      for (const { child } of [second, third, replacement]) child.kill('SIGTERM')
    },
    timeoutMs,
  )

  test(
    'two nodes, one killed by SIGKILL in full flow → the other finishes all, nothing lost',
    async () => {
      await using run = new ChaosRun({ connectionString: url, schema: world.schema, leaseMs })
      const producer = await run.client('producer2')
      const queue = await run.queue('plain')
      const job = { queue, orderBy: 'none', maxInFlight: 200 } as const
      const [first, second] = [await start(run, job), await start(run, job)]
      const producing = run.produce(producer, 6_000, 300, () => run.message(queue))
      await sleep(500)
      await kill(run, first)
      await producing
      expect(run.confirmed).toBe(6_000)
      expect(await run.judge({ lockMs: leaseMs })).toEqual([])
      second.child.kill('SIGTERM')
    },
    timeoutMs,
  )

  test(
    'a slow consumer: 50,000 messages wait in the database, our side holds what is in flight and no more',
    async () => {
      await using run = new ChaosRun({ connectionString: url, schema: world.schema })
      const producer = await run.client('producer3')
      const consumer = await run.client('slow')
      const queue = await run.queue('backlog')
      let open = 0
      let most = 0
      const { promise: finish, resolve: release } = Promise.withResolvers<void>()
      await consumer.receive(
        queue,
        async () => {
          most = Math.max(most, ++open)
          await finish
          open--
          return { as: 'ack' }
        },
        { maxInFlight: 25, orderBy: 'none' },
      )
      const body = new Uint8Array(1_000)
      for (let batch = 0; batch < 50; batch++) {
        await producer.send(Array.from({ length: 1_000 }, () => run.message(queue, { body })))
      }
      expect(most).toBe(25)
      const figures = await producer.admin?.queue(queue)
      expect(figures).toMatchObject({ ready: 49_975, locked: 25 })
      release()
      await producer.admin?.deleteQueue?.(queue)
    },
    timeoutMs,
  )
})
