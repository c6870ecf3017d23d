import { expect, it } from 'vitest'
import { ask } from '../../test/http/world.ts'
import { defineCommand } from '../index.ts'
import { createHarness } from '../testing/index.ts'
import { createGateway, type Gateway } from './index.ts'

const Work = defineCommand<{ n: number }>('jobs.work')

it('a gateway works in the test harness: virtual time, idle, probes', async () => {
  let gateway: Gateway | undefined
  await using harness = await createHarness({
    configure(bus) {
      bus.queue('work', { retry: { immediate: 0, delayedMs: [60_000], jitter: 0 } }).handle(Work, ({ n }, ctx) => {
        if (ctx.attempt === 1) throw new Error('not yet')
        return n
      })
      gateway = createGateway({ bus, volatile: true }).accept('POST', '/work', Work)
    },
  })
  const { headers, status } = await ask(gateway as Gateway, 'POST', '/work', { body: { n: 5 } })
  expect(status).toBe(202)
  await harness.idle()
  const path = headers.get('location') as string
  expect((await ask(gateway as Gateway, 'GET', path)).body['status']).toBe('retrying')
  await harness.advance(60_000)
  expect((await ask(gateway as Gateway, 'GET', path)).body).toMatchObject({
    status: 'succeeded',
    result: 5,
    attempt: 2,
  })
  expect(harness.consumed(Work).count()).toBe(1)
})

it('a week passes in the harness in moments', async () => {
  let gateway: Gateway | undefined
  await using harness = await createHarness({
    configure(bus) {
      bus.queue('work').handle(Work, ({ n }) => n)
      gateway = createGateway({ bus, volatile: true }).accept('POST', '/work', Work)
    },
  })
  const { headers } = await ask(gateway as Gateway, 'POST', '/work', { body: { n: 5 } })
  await harness.idle()
  const startedAt = performance.now()
  await harness.advance(7 * 86_400_000 + 1)
  expect((await ask(gateway as Gateway, 'GET', headers.get('location') as string)).status).toBe(410)
  expect(performance.now() - startedAt).toBeLessThan(20_000)
})
