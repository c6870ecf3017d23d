import { describe, expect, it } from 'vitest'
import { ask, gate, gatewayOf, world } from '../../test/http/world.ts'
import { DeadLetterError, defineCommand } from '../index.ts'
import { memory } from '../transport/transports/memory.ts'

const Work = defineCommand<{ n: number }>('jobs.work')

describe('the resource', () => {
  it('HT-23 HT-24 has a new ETag with each change, 304 for a known one, and no Retry-After when done', async () => {
    await using w = world()
    const { opened, open } = gate()
    w.bus.queue('work').handle(Work, () => opened.then(() => 7))
    const gateway = gatewayOf(w.bus).accept('POST', '/work', Work)
    await w.bus.start()
    const { headers } = await ask(gateway, 'POST', '/work', { body: { n: 1 } })
    const path = headers.get('location') as string
    await w.settle()
    const running = await ask(gateway, 'GET', path)
    expect([running.status, running.headers.get('etag'), running.headers.get('cache-control')]).toEqual([
      200,
      '"2"',
      'private, no-cache',
    ])
    expect(running.headers.get('retry-after')).toBe('2')
    const known = await ask(gateway, 'GET', path, { headers: { 'if-none-match': '"2"' } })
    expect([known.status, known.text, known.headers.get('etag')]).toEqual([304, '', '"2"'])
    open()
    await w.settle()
    const done = await ask(gateway, 'GET', path, { headers: { 'if-none-match': '"2"' } })
    expect([done.status, done.headers.get('etag'), done.headers.get('retry-after')]).toEqual([200, '"3"', null])
    expect(done.body).toMatchObject({ status: 'succeeded', result: 7, links: { self: path, events: `${path}/events` } })
    expect(done.body['links']).not.toHaveProperty('cancel')
    expect((await ask(gateway, 'HEAD', path)).status).toBe(200)
  })

  it('a failed operation is 200: the operation failed, the GET did not', async () => {
    await using w = world()
    w.bus.queue('work', { retry: 'none' }).handle(Work, () => {
      throw new DeadLetterError('no stock')
    })
    const gateway = gatewayOf(w.bus, { publicUrl: 'https://x.example' }).accept('POST', '/work', Work, {
      error: ({ problem }) => ({ title: 'Sold out', detail: `${problem.detail ?? ''}, sorry` }),
    })
    await w.bus.start()
    const answer = await ask(gateway, 'POST', '/work', { body: { n: 1 }, headers: { prefer: 'wait=5' } })
    expect(answer.status).toBe(200)
    expect(answer.body).toMatchObject({
      status: 'failed',
      error: {
        type: 'https://x.example/problems/operation-failed',
        title: 'Sold out',
        detail: 'no stock, sorry',
        attempts: 1,
        code: 'BUZZER_OPERATION_FAILED',
      },
    })
  })

  it('OP-5 Retry-After follows the delay of a retry', async () => {
    await using w = world()
    w.bus.queue('work', { retry: { immediate: 0, delayedMs: [9_000], jitter: 0 } }).handle(Work, () => {
      throw new Error('again')
    })
    const gateway = gatewayOf(w.bus).accept('POST', '/work', Work)
    await w.bus.start()
    const { headers } = await ask(gateway, 'POST', '/work', { body: { n: 1 } })
    await w.settle()
    const retrying = await ask(gateway, 'GET', headers.get('location') as string)
    expect([retrying.body['status'], retrying.headers.get('retry-after')]).toEqual(['retrying', '9'])
  })

  it('HT-26 an id that is no UUID costs no store access', async () => {
    const transport = memory()
    let reads = 0
    const store = transport.store as { get: (...given: never[]) => Promise<unknown> }
    const get = store.get.bind(store)
    store.get = (...given) => {
      reads++
      return get(...given)
    }
    await using w = world({ transport })
    const gateway = gatewayOf(w.bus)
    await w.bus.start()
    for (const id of ['x', '01a20947', `01a20947-6d1c-7a52-9f3e-6f0f4be8a111x`]) {
      expect((await ask(gateway, 'GET', `/operations/${id}`)).status).toBe(404)
    }
    expect(reads).toBe(0)
  })

  it("HT-27 another one's operation is 404, unless authorize lets a supervisor read it", async () => {
    await using w = world()
    const gateway = gatewayOf(w.bus, {
      authenticate: request => ({ id: request.headers.get('x-user') ?? '' }),
      authorize: ({ principal, action, operation }) =>
        action === 'accept' || principal?.id === operation?.owner || (action === 'read' && principal?.id === 'boss'),
    }).accept('POST', '/work', Work, { to: 'work' })
    await w.bus.start()
    const as = (user: string): { headers: Record<string, string> } => ({ headers: { 'x-user': user } })
    const { headers, text } = await ask(gateway, 'POST', '/work', { body: { n: 1 }, ...as('ann') })
    expect(text).not.toContain('ann')
    const path = headers.get('location') as string
    expect((await ask(gateway, 'GET', path, as('ann'))).status).toBe(200)
    expect((await ask(gateway, 'GET', path, as('bob'))).status).toBe(404)
    expect((await ask(gateway, 'GET', `${path}/events`, as('bob'))).status).toBe(404)
    expect((await ask(gateway, 'GET', path, as('boss'))).status).toBe(200)
    expect((await ask(gateway, 'DELETE', path, as('boss'))).status).toBe(404)
    expect((await ask(gateway, 'DELETE', path, as('ann'))).status).toBe(200)
  })

  it('without authorize only the owner reads and cancels, tenant included', async () => {
    await using w = world()
    const gateway = gatewayOf(w.bus, {
      authenticate: request => JSON.parse(request.headers.get('x-user') ?? 'null') as { id: string } | null,
    }).accept('POST', '/work', Work, { to: 'work' })
    await w.bus.start()
    const as = (id: string, tenant: string): { headers: Record<string, string> } => ({
      headers: { 'x-user': JSON.stringify({ id, tenant }) },
    })
    const { headers } = await ask(gateway, 'POST', '/work', { body: { n: 1 }, ...as('ann', 'a') })
    const path = headers.get('location') as string
    expect((await ask(gateway, 'GET', path, as('ann', 'a'))).status).toBe(200)
    expect((await ask(gateway, 'GET', path, as('ann', 'b'))).status).toBe(404)
    expect((await ask(gateway, 'GET', path)).status).toBe(401)
  })

  it('HT-28 410 on resource, events and DELETE after the retention, 404 after the tombstone', async () => {
    await using w = world()
    w.bus.queue('work').handle(Work, () => {})
    const operations = { volatile: true, retention: { succeededMs: 10_000, tombstoneMs: 20_000 } }
    const gateway = gatewayOf(w.bus, { operations }).accept('POST', '/work', Work)
    await w.bus.start()
    const { headers } = await ask(gateway, 'POST', '/work', { body: { n: 1 } })
    const path = headers.get('location') as string
    await w.settle()
    const all = async (): Promise<number[]> => [
      (await ask(gateway, 'GET', path)).status,
      (await ask(gateway, 'GET', `${path}/events`)).status,
      (await ask(gateway, 'DELETE', path)).status,
    ]
    await w.advance(9_000)
    expect(await all()).toEqual([200, 200, 409])
    await w.advance(2_000)
    expect(await all()).toEqual([410, 410, 410])
    await w.advance(20_000)
    expect(await all()).toEqual([404, 404, 404])
  })

  it('HT-29 303 with see-other only when succeeded, to an origin that is ours or listed', async () => {
    await using w = world()
    const urls: Record<number, string | undefined> = {
      1: '/reports/1',
      2: 'https://files.example.com/2',
      3: 'https://evil.example/3',
      4: 'http://[bad',
      5: '/a\r\nSet-Cookie: x=1',
      6: undefined,
    }
    w.bus.queue('work', { retry: 'none' }).handle(Work, ({ n }) => {
      if (n === 0) throw new Error('no')
      return n
    })
    const gateway = gatewayOf(w.bus, { resultOrigins: ['https://files.example.com'] }).accept('POST', '/work', Work, {
      onComplete: 'see-other',
      resultUrl: operation => urls[operation.result as number],
    })
    await w.bus.start()
    const answers = []
    for (let n = 0; n <= 6; n++) {
      const { headers, status } = await ask(gateway, 'POST', '/work', { body: { n }, headers: { prefer: 'wait=5' } })
      expect(status).toBe(200)
      answers.push(await ask(gateway, 'GET', headers.get('location') as string))
    }
    expect(answers.map(({ status, headers }) => [status, headers.get('location')])).toEqual([
      [200, null],
      [303, '/reports/1'],
      [303, 'https://files.example.com/2'],
      [200, null],
      [200, null],
      [303, '/aSet-Cookie:%20x=1'],
      [200, null],
    ])
    expect(answers[1]?.body).toMatchObject({ status: 'succeeded', links: { result: '/reports/1' } })
    expect(w.log.filter(line => line.message.startsWith('resultUrl is no URL')).length).toBeGreaterThan(0)
  })
})

describe('Prefer: wait', () => {
  it('holds a POST until done: 200; or until the time is over: 202', async () => {
    await using w = world()
    const { opened, open } = gate()
    w.bus.queue('work').handle(Work, ({ n }) => (n === 0 ? 'fast' : opened))
    const gateway = gatewayOf(w.bus, { wait: { maxMs: 5_000 } }).accept('POST', '/work', Work)
    await w.bus.start()
    const prefer = (value: string): { headers: Record<string, string> } => ({ headers: { prefer: value } })
    const fast = await ask(gateway, 'POST', '/work', { body: { n: 0 }, ...prefer('respond-async, wait=9') })
    expect([fast.status, fast.headers.get('preference-applied'), fast.body['result']]).toEqual([200, 'wait=5', 'fast'])
    const slow = ask(gateway, 'POST', '/work', { body: { n: 1 }, ...prefer('respond-async, wait=9') })
    await w.settle()
    await w.advance(5_000)
    const late = await slow
    expect([late.status, late.headers.get('preference-applied')]).toEqual([202, 'respond-async, wait=5'])
    expect(late.body['status']).toBe('running')
    const none = await ask(gateway, 'POST', '/work', { body: { n: 1 }, ...prefer('wait=0') })
    expect([none.status, none.headers.get('preference-applied')]).toEqual([202, 'wait=0'])
    const odd = await ask(gateway, 'POST', '/work', { body: { n: 1 }, ...prefer('wait=-1, unknown=2') })
    expect([odd.status, odd.headers.get('preference-applied')]).toEqual([202, null])
    open()
  })

  it('HT-25 a GET with If-None-Match returns on the next version, without it when done', async () => {
    await using w = world()
    const { opened, open } = gate()
    let report: (percent: number) => Promise<void> = () => Promise.resolve()
    w.bus.queue('work').handle(Work, async (_, ctx) => {
      report = percent => ctx.progress(percent)
      await opened
    })
    const gateway = gatewayOf(w.bus).accept('POST', '/work', Work)
    await w.bus.start()
    const { headers } = await ask(gateway, 'POST', '/work', { body: { n: 1 } })
    const path = headers.get('location') as string
    await w.settle()
    const next = ask(gateway, 'GET', path, { headers: { prefer: 'wait=20', 'if-none-match': '"2"' } })
    const ended = ask(gateway, 'GET', path, { headers: { prefer: 'wait=20' } })
    await w.settle()
    await report(10)
    const changed = await next
    expect([changed.status, changed.headers.get('etag'), changed.headers.get('preference-applied')]).toEqual([
      200,
      '"3"',
      'wait=20',
    ])
    open()
    expect((await ended).body['status']).toBe('succeeded')
    const same = ask(gateway, 'GET', path, { headers: { prefer: 'wait=2', 'if-none-match': '"4"' } })
    await w.settle()
    await w.advance(2_000)
    expect((await same).status).toBe(304)
  })

  it('HT-34 waiting clients that leave free their places', async () => {
    await using w = world()
    const { opened, open } = gate()
    w.bus.queue('work').handle(Work, () => opened)
    const gateway = gatewayOf(w.bus, { limits: { maxConcurrentAccepts: 2 } }).accept('POST', '/work', Work)
    await w.bus.start()
    const leave = new AbortController()
    const headers = { prefer: 'wait=20' }
    const waiting = [1, 2].map(n => ask(gateway, 'POST', '/work', { body: { n }, headers, signal: leave.signal }))
    await w.settle()
    const refused = await ask(gateway, 'POST', '/work', { body: { n: 3 } })
    expect([refused.status, refused.body['code']]).toEqual([503, 'BUZZER_OVERLOADED'])
    leave.abort()
    await Promise.all(waiting)
    expect((await ask(gateway, 'POST', '/work', { body: { n: 3 } })).status).toBe(202)
    open()
  })
})

describe('DELETE', () => {
  it('HT-30 running: 202, again 202; then cancelled: 200; the handler saw its signal', async () => {
    await using w = world()
    w.bus.queue('work').handle(Work, (_, ctx) => {
      return new Promise((_resolve, reject) => {
        ctx.signal.addEventListener('abort', () => setTimeout(() => reject(new Error('stopped')), 20))
      })
    })
    const gateway = gatewayOf(w.bus).accept('POST', '/work', Work)
    await w.bus.start()
    const { headers } = await ask(gateway, 'POST', '/work', { body: { n: 1 } })
    const path = headers.get('location') as string
    await w.settle()
    const first = await ask(gateway, 'DELETE', path)
    expect([first.status, first.body['cancelRequested'], first.body['status']]).toEqual([202, true, 'running'])
    expect((await ask(gateway, 'DELETE', path)).status).toBe(202)
    expect((await ask(gateway, 'GET', path, { headers: { prefer: 'wait=5' } })).body['status']).toBe('cancelled')
    expect((await ask(gateway, 'DELETE', path)).status).toBe(200)
    expect(await w.messages('work')).toBe(0)
  })

  it('HT-31 cancelled while retrying: at once, and the scheduled attempt never runs', async () => {
    await using w = world()
    let runs = 0
    w.bus.queue('work', { retry: { immediate: 0, delayedMs: [5_000], jitter: 0 } }).handle(Work, () => {
      runs++
      throw new Error('again')
    })
    const gateway = gatewayOf(w.bus).accept('POST', '/work', Work)
    await w.bus.start()
    const { headers } = await ask(gateway, 'POST', '/work', { body: { n: 1 } })
    await w.settle()
    const cancelled = await ask(gateway, 'DELETE', headers.get('location') as string)
    expect([cancelled.status, cancelled.body['status']]).toEqual([200, 'cancelled'])
    await w.advance(60_000)
    expect(runs).toBe(1)
    expect(await w.messages('work')).toBe(0)
  })

  it('HT-33 a handler that ignores the signal and finishes has succeeded', async () => {
    await using w = world()
    const { opened, open } = gate()
    w.bus.queue('work').handle(Work, () => opened.then(() => 'done'))
    const gateway = gatewayOf(w.bus).accept('POST', '/work', Work)
    await w.bus.start()
    const { headers } = await ask(gateway, 'POST', '/work', { body: { n: 1 } })
    const path = headers.get('location') as string
    await w.settle()
    await ask(gateway, 'DELETE', path)
    open()
    await w.settle()
    expect((await ask(gateway, 'GET', path)).body).toMatchObject({
      status: 'succeeded',
      cancelRequested: true,
      result: 'done',
    })
    const late = await ask(gateway, 'DELETE', path)
    expect([late.status, late.body['code'], late.body['operation']]).toEqual([409, 'BUZZER_OPERATION_DONE', path])
  })
})

describe('CORS and documents', () => {
  const origin = 'https://shop.example.com'
  it('HT-75 off by default; listed origins only; preflight without authentication', async () => {
    await using w = world()
    const off = gatewayOf(w.bus).accept('POST', '/work', Work, { to: 'work' })
    const on = gatewayOf(w.bus, {
      cors: { origins: [origin], credentials: true, maxAgeS: 60 },
      authenticate: () => null,
    }).accept('POST', '/work', Work, { to: 'work' })
    await w.bus.start()
    const asked = { 'access-control-request-method': 'POST', origin }
    expect((await ask(off, 'OPTIONS', '/work', { headers: asked })).status).toBe(405)
    expect(
      (await ask(off, 'POST', '/work', { body: { n: 1 }, headers: { origin } })).headers.has(
        'access-control-allow-origin',
      ),
    ).toBe(false)
    const preflight = await ask(on, 'OPTIONS', '/work', { headers: asked })
    expect(preflight.status).toBe(204)
    expect(Object.fromEntries(preflight.headers)).toMatchObject({
      'access-control-allow-origin': origin,
      'access-control-allow-credentials': 'true',
      'access-control-allow-methods': 'POST',
      'access-control-max-age': '60',
      vary: 'Origin',
    })
    expect(preflight.headers.get('access-control-allow-headers')).toContain('Idempotency-Key')
    const unlisted = await ask(on, 'OPTIONS', '/work', { headers: { ...asked, origin: 'https://evil.example' } })
    expect(unlisted.headers.has('access-control-allow-origin')).toBe(false)
    const refused = await ask(on, 'POST', '/work', { body: { n: 1 }, headers: { origin } })
    expect([refused.status, refused.headers.get('access-control-allow-origin')]).toEqual([401, origin])
    expect(refused.headers.get('access-control-expose-headers')).toContain('Location')
  })

  it('HT-76 readyz turns 503 when the gateway closes, livez stays', async () => {
    await using w = world()
    const gateway = gatewayOf(w.bus).accept('POST', '/work', Work, { to: 'work' })
    await w.bus.start()
    expect((await ask(gateway, 'GET', '/readyz')).status).toBe(200)
    await gateway.close()
    const ready = await ask(gateway, 'GET', '/readyz')
    expect([ready.status, ready.body['checks']]).toEqual([503, { store: 'pass', transport: 'pass', draining: 'fail' }])
    expect((await ask(gateway, 'GET', '/livez')).status).toBe(200)
    const refused = await ask(gateway, 'POST', '/work', { body: { n: 1 } })
    expect([refused.status, refused.headers.get('connection')]).toEqual([503, 'close'])
    expect((await gateway.operations.list()).items).toEqual([])
  })
})
