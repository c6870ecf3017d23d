import { describe, expect, it } from 'vitest'
import { ask, gate, gatewayOf, world } from '../../test/http/world.ts'
import { defineCommand } from '../index.ts'
import type { LoadSnapshot } from './index.ts'

const Work = defineCommand<{ n: number }>('jobs.work')

describe('admission', () => {
  it('a stalled queue fed by one process takes exactly maxBacklog, one after the other', async () => {
    await using w = world()
    const gateway = gatewayOf(w.bus, { admission: { maxBacklog: 7 } }).accept('POST', '/work', Work, { to: 'work' })
    await w.bus.start()
    const statuses: number[] = []
    for (let n = 0; n < 12; n++) {
      statuses.push((await ask(gateway, 'POST', '/work', { body: { n } })).status)
      if (n % 3 === 0) await w.advance(300)
    }
    expect(statuses).toEqual([...Array<number>(7).fill(202), ...Array<number>(5).fill(503)])
    expect(await w.messages('work')).toBe(7)
  })

  it('and exactly maxBacklog of a burst between two samples', async () => {
    await using w = world()
    const gateway = gatewayOf(w.bus, { admission: { maxBacklog: 10 } }).accept('POST', '/work', Work, { to: 'work' })
    await w.bus.start()
    const burst = await Promise.all(
      Array.from({ length: 50 }, (_, n) => ask(gateway, 'POST', '/work', { body: { n } })),
    )
    expect(burst.filter(answer => answer.status === 202)).toHaveLength(10)
    expect(await w.messages('work')).toBe(10)
    const refused = burst.find(answer => answer.status === 503)
    expect(refused?.body['code']).toBe('BUZZER_OVERLOADED')
  })

  it('what was refused later counts no more, and what was handled makes room', async () => {
    await using w = world()
    const { opened, open } = gate()
    w.bus.queue('work').handle(Work, () => opened)
    const gateway = gatewayOf(w.bus, { admission: { maxBacklog: 2 } }).accept('POST', '/work', Work)
    await w.bus.start()
    for (let n = 0; n < 5; n++) expect((await ask(gateway, 'POST', '/work', { body: '{' })).status).toBe(400)
    const statuses = []
    for (let n = 0; n < 3; n++) statuses.push((await ask(gateway, 'POST', '/work', { body: { n } })).status)
    expect(statuses).toEqual([202, 202, 503])
    open()
    await w.advance(300)
    expect((await ask(gateway, 'POST', '/work', { body: { n: 9 } })).status).toBe(202)
  })

  it('HT-49 the verdict of check is 429 or 503 with its Retry-After, and sees the load', async () => {
    await using w = world()
    const seen: LoadSnapshot[] = []
    const verdicts = [
      undefined,
      { status: 429 as const, retryAfterMs: 2_500 },
      { status: 503 as const, retryAfterMs: 7_000 },
    ]
    const gateway = gatewayOf(w.bus, {
      admission: {
        check(snapshot) {
          seen.push(snapshot)
          return verdicts.shift()
        },
      },
    }).accept('POST', '/work', Work, { to: 'work' })
    await w.bus.start()
    const answers = []
    for (let n = 0; n < 3; n++) answers.push(await ask(gateway, 'POST', '/work', { body: { n } }))
    expect(answers.map(({ status, headers }) => [status, status === 202 ? '' : headers.get('retry-after')])).toEqual([
      [202, ''],
      [429, '3'],
      [503, '7'],
    ])
    expect(answers.map(({ body }) => body['code'])).toEqual([undefined, 'BUZZER_RATE_LIMITED', 'BUZZER_OVERLOADED'])
    expect(seen[1]).toMatchObject({ command: 'jobs.work', queue: 'work', backlog: 1, concurrentAccepts: 0 })
    expect(seen[1]?.freeDiskBytes).toBeGreaterThan(0)
  })

  it('HT-51 event-loop delay and free disk refuse', async () => {
    await using w = world()
    const disk = gatewayOf(w.bus, { admission: { minFreeDiskBytes: Number.MAX_SAFE_INTEGER } }).accept(
      'POST',
      '/disk',
      Work,
      { to: 'w' },
    )
    const loop = gatewayOf(w.bus, { admission: { maxEventLoopDelayMs: 60 } }).accept('POST', '/loop', Work, { to: 'w' })
    await w.bus.start()
    expect((await ask(disk, 'POST', '/disk', { body: { n: 1 } })).body['detail']).toBe('The disk is nearly full')
    expect((await ask(loop, 'POST', '/loop', { body: { n: 1 } })).status).toBe(202)
    await new Promise(resolve => setTimeout(resolve, 30))
    const until = performance.now() + 250
    while (performance.now() < until) {
      // The loop is blocked, which is the point.
    }
    await new Promise(resolve => setTimeout(resolve, 30))
    expect((await ask(loop, 'POST', '/loop', { body: { n: 1 } })).body['detail']).toBe('The process is busy')
  })

  it('HT-52 Retry-After varies by a fifth, within bounds', async () => {
    const draws = [0, 0.5, 0.999]
    const seen: (string | null)[] = []
    for (const draw of draws) {
      await using w = world({ random: () => draw })
      const gateway = gatewayOf(w.bus, { admission: { maxBacklog: 0 } }).accept('POST', '/work', Work, { to: 'work' })
      await w.bus.start()
      seen.push((await ask(gateway, 'POST', '/work', { body: { n: 1 } })).headers.get('retry-after'))
    }
    expect(seen).toEqual(['4', '5', '6'])
    await using w = world()
    const gateway = gatewayOf(w.bus, { admission: { maxBacklog: 0, maxRetryAfterMs: 2_000 } }).accept(
      'POST',
      '/work',
      Work,
      { to: 'work' },
    )
    await w.bus.start()
    expect((await ask(gateway, 'POST', '/work', { body: { n: 1 } })).headers.get('retry-after')).toBe('2')
  })

  it('HT-55 limits of a route override those of the gateway', async () => {
    await using w = world()
    const gateway = gatewayOf(w.bus, { limits: { maxBodyBytes: 20 }, admission: { maxBacklog: 1 } })
      .accept('POST', '/small', Work, { to: 'small' })
      .accept('POST', '/large', Work, { to: 'large', limits: { maxBodyBytes: 1_000 }, admission: { maxBacklog: 2 } })
    await w.bus.start()
    const body = `{"n":1,"pad":"${'x'.repeat(100)}"}`
    expect((await ask(gateway, 'POST', '/small', { body })).status).toBe(413)
    const statuses = []
    for (let n = 0; n < 3; n++) statuses.push((await ask(gateway, 'POST', '/large', { body })).status)
    expect(statuses).toEqual([202, 202, 503])
  })

  it('only acceptance is shed: status, events, cancel and health go on', async () => {
    await using w = world()
    const gateway = gatewayOf(w.bus, { admission: { maxBacklog: 1 } }).accept('POST', '/work', Work, { to: 'work' })
    await w.bus.start()
    const { headers } = await ask(gateway, 'POST', '/work', { body: { n: 1 } })
    const path = headers.get('location') as string
    expect((await ask(gateway, 'POST', '/work', { body: { n: 1 } })).status).toBe(503)
    expect((await ask(gateway, 'GET', path)).status).toBe(200)
    expect((await ask(gateway, 'DELETE', path)).status).toBe(200)
    expect((await ask(gateway, 'GET', `${path}/events`)).status).toBe(200)
    expect((await ask(gateway, 'GET', '/readyz')).status).toBe(200)
  })
})

describe('rate', () => {
  it('HT-50 per principal, 429 with Retry-After, full again after perMs', async () => {
    await using w = world()
    const gateway = gatewayOf(w.bus, {
      authenticate: request => ({ id: request.headers.get('x-user') ?? '' }),
      rateLimit: { max: 2, perMs: 10_000 },
    }).accept('POST', '/work', Work, { to: 'work' })
    await w.bus.start()
    const send = (user: string): ReturnType<typeof ask> =>
      ask(gateway, 'POST', '/work', { body: { n: 1 }, headers: { 'x-user': user } })
    expect([(await send('ann')).status, (await send('ann')).status]).toEqual([202, 202])
    const limited = await send('ann')
    expect([limited.status, limited.headers.get('retry-after'), limited.body['code']]).toEqual([
      429,
      '5',
      'BUZZER_RATE_LIMITED',
    ])
    expect((await send('bob')).status).toBe(202)
    await w.advance(10_000)
    expect([(await send('ann')).status, (await send('ann')).status, (await send('ann')).status]).toEqual([
      202, 202, 429,
    ])
  })
})
