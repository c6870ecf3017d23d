import { once } from 'node:events'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { expect, it } from 'vitest'
import { temporaryFolder } from '../../../test/broker/engine-client.ts'
import { judgeWal } from './wal-judge.ts'

/** Commits without end, over a write-ahead file that begins anew every few of them, so that new frames overwrite old ones. */
const writer = `
  const { workerData, parentPort } = require('node:worker_threads')
  const { DatabaseSync } = require('node:sqlite')
  const db = new DatabaseSync(workerData)
  db.exec('pragma journal_mode = wal; pragma synchronous = off; pragma wal_autocheckpoint = 200')
  db.exec('create table t (id integer primary key, body blob)')
  const insert = db.prepare('insert into t (body) values (zeroblob(9000))')
  const remove = db.prepare('delete from t where id < ?')
  for (let n = 0; ; n++) {
    const { lastInsertRowid } = insert.run()
    if (n % 50 === 0) remove.run(Number(lastInsertRowid) - 50)
    if (n === 500) parentPort.postMessage('begun')
  }
`

it('a write-ahead file that is written while it is judged is not taken for damaged', async () => {
  const folder = temporaryFolder()
  const path = join(folder.path, 'busy.db')
  const worker = new Worker(writer, { eval: true, workerData: path })
  try {
    await once(worker, 'message')
    let mostFrames = 0
    // One is the commit that is being written.
    for (let round = 0; round < 1_000; round++) {
      const { lostCommits, frames } = judgeWal(`${path}-wal`)
      mostFrames = Math.max(mostFrames, frames)
      expect(lostCommits, `round ${round}, behind frame ${frames}`).toBeLessThan(2)
    }
    // It had something to judge.
    expect(mostFrames).toBeGreaterThan(50)
  } finally {
    await worker.terminate()
    folder.remove()
  }
}, 60_000)
