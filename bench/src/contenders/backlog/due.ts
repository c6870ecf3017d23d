import { randomUUIDv7 } from 'node:crypto'
import { embedded } from 'buzzer/embedded'
import { sequenceOf, type Reading } from '../../reading.ts'
import type { Contender } from '../../suite.ts'
import { type BacklogKind, backlogFile, outgoing } from './backlog-file.ts'

/** Messages of one send. */
const batch = 500

/** `perSecond` scheduled messages fall due each second; a sample is how late one's handler starts. None may be early. */
export function fallingDue(kind: BacklogKind, perSecond: number): Contender {
  return {
    name: kind,
    side: 'ours',
    durability: 'power loss',
    async setup({ folder, sharedFolder }) {
      const transport = embedded({ path: await backlogFile(kind, folder, sharedFolder) })
      await transport.connect()
      let firstDueAt = Number.NaN
      const dueAt = (sequence: number): number => firstDueAt + Math.floor((sequence * 1_000) / perSecond)
      let samples: (number | undefined)[] = []
      let left = 0
      /** Of one message, in the last run. */
      let scheduleMs = 0
      let settle: { resolve(): void; reject(error: Error): void } | undefined
      const receiver = await transport.receive(
        'readings',
        async ({ body }) => {
          const nowMs = performance.timeOrigin + performance.now()
          const sequence = sequenceOf(JSON.parse(Buffer.from(body).toString()) as Reading)
          const lateMs = nowMs - dueAt(sequence)
          if (samples[sequence] !== undefined) settle?.reject(new Error(`message ${sequence} was handled twice`))
          if (lateMs < -1) settle?.reject(new Error(`message ${sequence} came ${-lateMs} ms early`))
          samples[sequence] = Math.max(0, lateMs)
          if (--left === 0) settle?.resolve()
          return { as: 'ack' }
        },
        { maxInFlight: 1_000, orderBy: 'none' },
      )
      /** Schedules `n` messages, the first of them due at `firstMs`. */
      const schedule = async (n: number, firstMs: number): Promise<void> => {
        const startedAt = performance.now()
        firstDueAt = firstMs
        for (let from = 0; from < n; from += batch)
          await transport.send(
            Array.from({ length: Math.min(batch, n - from) }, (_, i) => ({
              ...outgoing(from + i),
              // As the bus makes them: new, and rising with time.
              id: randomUUIDv7(),
              deliverAt: dueAt(from + i),
            })),
          )
        scheduleMs = (performance.now() - startedAt) / n
      }
      const run = async (n: number, leadMs: number): Promise<readonly number[]> => {
        samples = []
        left = n
        const allHandled = new Promise<void>((resolve, reject) => (settle = { resolve, reject }))
        allHandled.catch(() => undefined)
        const firstMs = Date.now() + leadMs
        await schedule(n, firstMs)
        if (Date.now() > firstMs) throw new Error(`${n} messages took longer than ${leadMs} ms to schedule`)
        await allHandled
        return samples as readonly number[]
      }
      // The first run finds how long scheduling takes here; later ones leave three times that.
      await run(perSecond / 10, 5_000)
      const leadMs = (n: number): number => 500 + 3 * n * scheduleMs
      return {
        run: n => run(n, leadMs(n)),
        async teardown() {
          await receiver.stop()
          await transport.close()
        },
      }
    },
  }
}
