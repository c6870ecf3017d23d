import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { type EngineClient, EngineHost, temporaryFolder } from '../../../test/broker/engine-client.ts'
import { canTrace, crashStride, runUntil } from '../../../test/broker/killed-at.ts'
import { checkFile } from './index.ts'

const scenario = fileURLToPath(new URL('../../../test/broker/crash-scenario.ts', import.meta.url))

/** Opens what the dead process left and holds it against what it had acknowledged. */
function judge(path: string, steps: readonly string[]): void {
  const said = new Set(steps)
  if (!existsSync(path)) {
    expect(said.size).toBe(0)
    return
  }
  const host = new EngineHost(path, { durability: 'fsync' })
  try {
    const client = host.connect()
    const queues = client.call<{ name: string }[]>({ call: 'admin', method: 'queues' }).map(({ name }) => name)
    const narrow = queues.slice(0, 3)
    if (said.has('declared')) expect(narrow).toEqual(['in', 'copy', 'out'])
    expect([0, 3]).toContain(narrow.length)
    if (queues.length === 0) return
    judgeWideFanOut(client, queues.slice(3), said)
    const [inside, copy, out] = narrow.map(name => client.counts(name))
    if (inside === undefined || copy === undefined || out === undefined) throw new Error('no counts')
    const settled = client.call({ call: 'store-get', collection: 'c', id: 'done' }) !== null
    const total = inside.ready + inside.dead
    // Fan-out: both queues or none. The settlement: state and answer or neither, and then the message is gone.
    expect(out.ready).toBe(settled ? 1 : 0)
    if (said.has('fanned-out')) expect(copy.ready).toBe(1)
    if (!settled) expect(inside.ready).toBe(copy.ready)
    if (said.has('settled')) expect(settled).toBe(true)
    // The schedule that the settlement cancels is there until then, and not a moment longer.
    if (said.has('planned') || settled) expect(copy.scheduled).toBe(settled ? 0 : 1)
    // The poisoned message is in one place.
    expect(total).toBeLessThanOrEqual(1)
    if (said.has('buried')) expect(total).toBe(1)
    if (said.has('redriven')) expect(inside).toMatchObject({ ready: 1, dead: 0 })
    if (said.has('cancelled')) expect(out.scheduled).toBe(0)
    expect([inside.locked, copy.locked, out.locked]).toEqual([0, 0, 0])
    judgeLogs(client, said)
  } finally {
    host.engine.close()
  }
  expect(checkFile(path)).toEqual({ ok: true, problems: [] })
}

/** B50: of fifty queues all have the message, or none. */
function judgeWideFanOut(client: EngineClient, wide: readonly string[], said: ReadonlySet<string>): void {
  expect([0, 50]).toContain(wide.length)
  const counts = new Set(wide.map(name => client.counts(name).ready))
  expect(counts.size).toBeLessThanOrEqual(1)
  if (said.has('fanned-wide')) expect([wide.length, ...counts]).toEqual([50, 1])
}

/** An append over two partitions: both or none, with its key, its producer's number and its deduplication key. */
function judgeLogs(client: EngineClient, said: ReadonlySet<string>): void {
  const { streams } = client.call<{ streams: unknown[] }>({ call: 'log-describe' })
  if (said.has('appended')) expect(streams).toHaveLength(1)
  if (streams.length === 0) return
  const ends = [0, 1].map(partition => client.readLog('s', 'end', partition).end)
  if (said.has('appended')) expect(ends).toEqual([4, 2])
  else {
    expect([
      [1, 1],
      [3, 1],
      [4, 2],
    ]).toContainEqual(ends)
  }
  const { first, records } = client.readLog('s')
  expect(records.map(({ position }) => position)).toEqual(
    Array.from({ length: (ends[0] as number) - first }, (_, index) => first + index),
  )
  if (said.has('trimmed')) expect(first).toBe(3)
  if (ends[1] === 1) return
  // Told again by another session, it is known.
  const more = { producer: { name: 'p', epoch: 1, sequence: 5 }, deduplicationKey: 'd' }
  const record = { key: 'k', value: Buffer.from('again') }
  expect(client.append([{ stream: 's', partition: 0, records: [record], ...more }])).toMatchObject([
    { as: 'duplicate', position: 3 },
  ])
  const expected = { expect: { key: 'k', last: 3 } } as const
  expect(client.append([{ stream: 's', partition: 0, records: [record], ...expected }])).toMatchObject([
    { position: 4 },
  ])
}

describe.skipIf(!canTrace)('killed at every write (needs strace)', () => {
  const stride = crashStride(11)

  it.each(['fsync', 'pwrite64', 'ftruncate', 'unlink'])(
    'B88 B50 B71 after a death at any %s the file opens, checks, and holds what was acknowledged, whole',
    call => {
      let nth = 1
      for (; ; nth += stride) {
        const folder = temporaryFolder()
        try {
          const path = join(folder.path, 'broker.db')
          const { steps, untouched } = runUntil(scenario, path, call, nth, 'signal=KILL')
          judge(path, steps)
          if (untouched) {
            expect(steps.at(-1)).toBe('closed')
            break
          }
        } finally {
          folder.remove()
        }
      }
      if (call === 'fsync') expect(nth, 'the scenario was killed at all').toBeGreaterThan(5)
    },
    180_000,
  )

  it('B89 after a sync that fails nothing more is acknowledged, and the next owner finds all that was', () => {
    let failures = 0
    for (let nth = 3; nth < 40; nth += stride) {
      const folder = temporaryFolder()
      try {
        const path = join(folder.path, 'broker.db')
        const { steps, untouched } = runUntil(scenario, path, 'fsync', nth, 'error=EIO')
        if (!untouched) failures++
        judge(path, steps)
      } finally {
        folder.remove()
      }
    }
    expect(failures).toBeGreaterThan(0)
  }, 180_000)
})
