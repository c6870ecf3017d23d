import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Contender } from '../suite.ts'
import { type BuzzerOptions, engineBatch } from './buzzer.ts'

/**
 * What the disk allows: the bytes of the messages appended to a file and synced, and nothing else; in batches as large as
 * the engine's commits are under the load of `as`, which is measured first.
 */
export function rawLimit(name: string, as: BuzzerOptions): Contender {
  return {
    name,
    side: 'floor',
    durability: 'power loss',
    ...(as.bytes === undefined ? {} : { bytes: as.bytes }),
    async setup({ folder }) {
      const batch = await engineBatch(as, folder)
      const bytes = as.bytes ?? 200
      const file = openSync(join(folder, 'appended'), 'a')
      const lines = Buffer.alloc(batch * bytes, '.')
      return {
        facts: { batches: `of ${batch} messages, as the engine's` },
        async run(n) {
          for (let appended = 0; appended < n; appended += batch) {
            writeSync(file, lines, 0, Math.min(batch, n - appended) * bytes)
            fdatasyncSync(file)
          }
        },
        async teardown() {
          closeSync(file)
        },
      }
    },
  }
}
