import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Contender } from '../suite.ts'

/** The floor under every durable latency: 200 bytes appended and synced, at the same pace as the messages. */
export function bareSync(everyMs: number): Contender {
  return {
    name: 'bare fdatasync',
    side: 'floor',
    durability: 'power loss',
    async setup({ folder }) {
      const file = openSync(join(folder, 'appended'), 'a')
      const line = Buffer.alloc(200, 'x')
      return {
        async run(n) {
          const samples: number[] = []
          for (let i = 0; i < n; i++) {
            const calledAt = performance.now()
            writeSync(file, line)
            fdatasyncSync(file)
            const tookMs = performance.now() - calledAt
            samples.push(tookMs)
            if (everyMs > tookMs) await sleep(everyMs - tookMs)
          }
          return samples
        },
        async teardown() {
          closeSync(file)
        },
      }
    },
  }
}
