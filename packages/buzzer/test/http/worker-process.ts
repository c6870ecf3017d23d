import { createBus } from 'buzzer'
import { embedded } from 'buzzer/embedded'
import { setTimeout as sleep } from 'node:timers/promises'
import { Work } from './contracts.ts'

// A worker process over the same file: no gateway, no line about operations.
const [path = ''] = process.argv.slice(2)
const bus = createBus({ name: 'workers', transport: embedded({ path }) })
bus.queue('work', { retry: 'none' }).handle(Work, async ({ n, holdMs, as }, ctx) => {
  process.send?.({ started: n, attempt: ctx.attempt })
  if (as === 'fail') throw new Error('no')
  if (as === 'wait-for-cancel') {
    await new Promise((_resolve, reject) => {
      ctx.signal.addEventListener('abort', () => {
        process.send?.({ aborted: (ctx.signal.reason as { code?: string }).code })
        reject(new Error('gave up'))
      })
    })
  }
  if (as === 'progress') await ctx.progress({ done: 1, total: 4, note: 'a quarter' })
  if (holdMs !== undefined) await sleep(holdMs)
  return { doubled: n * 2, by: process.pid }
})
await bus.start()
process.send?.({ ready: true })
process.on('message', message => {
  if (message === 'stop') void bus.stop({ timeoutMs: 1_000 }).then(() => process.disconnect())
})
