import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { EngineHost, messageTo, temporaryFolder, textOf } from '../../../test/broker/engine-client.ts'
import { checkFile } from './index.ts'

vi.setConfig({ testTimeout: 120_000 })

let folder: ReturnType<typeof temporaryFolder>
let path: string

beforeEach(() => {
  folder = temporaryFolder()
  path = join(folder.path, 'broker.db')
})
afterEach(() => folder.remove())

/** Bytes of the pages that hold something, those in the write-ahead file among them. */
function usedBytes(): number {
  const db = new DatabaseSync(path, { readOnly: true })
  try {
    const number = (pragma: string): number => Number(Object.values(db.prepare(`pragma ${pragma}`).get() ?? {})[0])
    return (number('page_count') - number('freelist_count')) * number('page_size')
  } finally {
    db.close()
  }
}

describe('compaction', () => {
  it('B97 B98 under load, without a rest: what is left of many chunks takes up its own size, not theirs', () => {
    const [commits, perCommit, bytes] = [4_000, 50, 200]
    const host = new EngineHost(path)
    const client = host.connect()
    client.declare({ name: 'q', orderBy: 'key' })
    client.subscribe('q', 10_000)
    const slow: string[] = []
    let first: number | undefined
    for (let commit = 0; commit < commits; commit++) {
      const at = (commit * 7) % perCommit
      client.send(
        Array.from({ length: perCommit }, (_, index) =>
          messageTo('q', `${commit}/${index} `.padEnd(bytes, 'x'), { key: index === at ? 'slow' : `k${index}` }),
        ),
      )
      slow.push(`${commit}/${at} `.padEnd(bytes, 'x'))
      // The first of the slow key is never answered, so all of that key that follow wait.
      const tokens = client.take().flatMap(delivery => {
        if (delivery.message.key !== 'slow') return [delivery.token]
        first = delivery.token
        return []
      })
      client.ack(...tokens)
    }
    expect(client.figures('q').ready).toBe(commits - 1)
    const waiting = client.figures('q').bytes
    expect(waiting).toBeLessThan(commits * (bytes + 150))
    expect(usedBytes(), `${waiting} bytes wait`).toBeLessThan(4 * waiting)
    expect(checkFile(path)).toEqual({ ok: true, problems: [] })
    // All of them are there, in their order, also for the next owner.
    host.crash()
    const next = host.connect()
    next.subscribe('q', 10_000)
    const found: string[] = []
    for (let batch = next.take(); batch.length > 0; batch = next.take()) {
      found.push(...batch.map(textOf))
      next.ack(...batch.map(({ token }) => token))
    }
    expect(first).toBeDefined()
    host.advance(5_000)
    for (let batch = next.take(); batch.length > 0; batch = next.take()) {
      found.push(...batch.map(textOf))
      next.ack(...batch.map(({ token }) => token))
    }
    expect(found).toEqual(slow)
    expect(next.figures('q')).toMatchObject({ ready: 0, locked: 0, bytes: 0 })
    host.engine.close()
  })
})
