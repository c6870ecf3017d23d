import { spawnSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { silentLogger } from '../../../message/index.ts'
import { turn, virtualClock } from '../../../testing/virtual-clock.ts'
import { memory, memoryLog } from '../memory.ts'

const dayMs = 24 * 3_600_000
const context = (clock = virtualClock()) => ({
  bus: 'test',
  instanceId: 'one',
  clock,
  logger: silentLogger,
  onState: () => {},
})
const text = (value: string) => ({ value: Buffer.from(value) })

describe('memoryLog', () => {
  it('keeps 7 days by default, on the clock of its context: a record goes then and not before', async () => {
    const clock = virtualClock()
    const log = memoryLog()
    await log.connect(context(clock))
    await log.declare([{ name: 's' }])
    const first = async (): Promise<number | undefined> =>
      (await log.describe({ stream: 's' })).streams[0]?.partitions[0]?.first
    await log.append([{ stream: 's', records: [text('old')] }])
    await clock.advance(dayMs)
    await log.append([{ stream: 's', records: [text('new')] }])
    await clock.advance(6 * dayMs - 1)
    expect(await first()).toBe(1)
    await clock.advance(1)
    expect(await first()).toBe(2)
    await clock.advance(30 * dayMs)
    expect(await first(), 'the newest chunk stays').toBe(2)
    await log.close()
    expect(clock.nextAt).toBeUndefined()
  })

  it('a read waits exactly waitMs of the clock, and not at all once something came', async () => {
    const clock = virtualClock()
    const log = memoryLog()
    await log.connect(context(clock))
    await log.declare([{ name: 's' }])
    const results: number[] = []
    const read = log.read({ stream: 's', partition: 0, from: 'end', waitMs: 1_000 })
    void read.then(({ records }) => results.push(records.length))
    await clock.advance(999)
    expect(results).toEqual([])
    await clock.advance(1)
    await turn()
    expect(results).toEqual([0])
    const next = log.read({ stream: 's', partition: 0, from: 'end', waitMs: 1_000 })
    await log.append([{ stream: 's', records: [text('a')] }])
    expect((await next).records).toHaveLength(1)
    expect(clock.nextAt, 'retention is all that is due').toBe(undefined)
    await log.close()
  })

  it('time does not go back with the clock', async () => {
    const clock = virtualClock({ startAt: new Date(1_000_000) })
    const log = memoryLog()
    await log.connect(context(clock))
    await log.declare([{ name: 's' }])
    await clock.advance(5_000)
    const now = clock.now.bind(clock)
    await log.append([{ stream: 's', records: [text('a')] }])
    Object.assign(clock, { now: () => now() - 4_000 })
    const [answer] = await log.append([{ stream: 's', records: [text('b')] }])
    expect(answer).toMatchObject({ position: 2, time: 1_005_000 })
    await log.close()
  })

  it('beyond maxBytes of its broker an append is refused, and trimming makes room again', async () => {
    const log = memoryLog({ maxBytes: 10_000 })
    await log.connect(context())
    await log.declare([{ name: 's' }])
    const block = { value: new Uint8Array(4_000) }
    await log.append([{ stream: 's', records: [block] }])
    await log.append([{ stream: 's', records: [block] }])
    await expect(log.append([{ stream: 's', records: [block] }])).rejects.toMatchObject({
      code: 'BUZZER_BROKER_FULL',
      details: { limit: 10_000, size: 8_000, bytes: 4_000 },
    })
    await log.admin.trim('s', 0, 2)
    await log.append([{ stream: 's', records: [block] }])
    await log.close()
  })

  it('is open with its transport, and its records commit in one step with messages and state', async () => {
    const transport = memory()
    await expect(transport.log.describe()).rejects.toMatchObject({ code: 'BUZZER_NOT_RUNNING' })
    await transport.connect(context())
    await transport.log.declare([{ name: 's' }])
    const conflict = { op: 'put', collection: 'c', id: 'a', value: 1, expected: 5 } as const
    const inOneStep = (changes: readonly (typeof conflict | { expected: 'absent' })[]) =>
      transport.broker.transaction(async tx => {
        await transport.log.append([{ stream: 's', records: [text('x')] }], { tx })
        await transport.store.commit(
          changes.map(change => ({ ...conflict, ...change })),
          { tx },
        )
      })
    await expect(inOneStep([conflict])).rejects.toMatchObject({ code: 'BUZZER_CONFLICT' })
    expect((await transport.log.read({ stream: 's', partition: 0, from: 'start' })).records).toEqual([])
    await inOneStep([{ expected: 'absent' }])
    expect((await transport.log.read({ stream: 's', partition: 0, from: 'start' })).records).toHaveLength(1)
    const waiting = transport.log.read({ stream: 's', partition: 0, from: 'end', waitMs: 60_000 })
    await transport.close()
    await expect(waiting).rejects.toMatchObject({ code: 'BUZZER_NOT_RUNNING' })
  })

  it('a process that waits for a record stays alive until it has come', () => {
    const program = `
      import { memoryLog } from 'buzzer/memory'
      import { silentLogger, systemClock } from 'buzzer'
      const log = memoryLog()
      await log.connect({ bus: 'b', instanceId: 'i', clock: systemClock, logger: silentLogger, onState() {} })
      await log.declare([{ name: 's' }])
      const waiting = log.read({ stream: 's', partition: 0, from: 'end', waitMs: 300 })
      console.log((await waiting).records.length)`
    const { stdout, stderr } = spawnSync(
      process.execPath,
      ['--conditions=buzzer-source', '--input-type=module', '-e', program],
      { encoding: 'utf8', timeout: 20_000 },
    )
    expect([stdout, stderr]).toEqual(['0\n', ''])
  })
})
