import { describe, expect, expectTypeOf, it } from 'vitest'
import { z } from 'zod'
import { faultyStoreMemory } from '../../test/http/faulty-memory.ts'
import { ask, gate, gatewayOf, operationsOf, world } from '../../test/http/world.ts'
import { createBus, defineCommand, defineEvent, defineRequest, hasCode, type StandardSchema } from '../index.ts'
import { memory, memoryBroker } from '../transport/transports/memory.ts'
import { createGateway } from './index.ts'

const Order = defineCommand(
  'shop.order',
  z.object({ sku: z.string(), items: z.array(z.object({ n: z.number() })).optional() }),
)
const Cancel = defineCommand<{ orderId: string; why?: string }>('shop.cancel')
const Loose = defineCommand<unknown>('shop.loose')
const Placed = defineEvent<{ id: string }>('shop.placed')
const Quote = defineRequest<{ id: string }, { price: number }>('shop.quote')

const uuid = /^[0-9a-f-]{36}$/

const codeOf = (run: () => unknown): unknown => {
  try {
    run()
    return 'taken'
  } catch (error) {
    return (error as { code?: unknown }).code
  }
}

describe('the answer', () => {
  it('HT-1 is 202 with Location, Retry-After, Link, no-store and the resource', async () => {
    await using w = world()
    const gateway = gatewayOf(w.bus).accept('POST', '/orders', Order, { to: 'orders' })
    await w.bus.start()
    const answer = await ask(gateway, 'POST', '/orders', { body: { sku: 'a' } })
    const id = answer.body['id'] as unknown as string
    expect(answer.status).toBe(202)
    expect(id).toMatch(uuid)
    expect(answer.headers.get('location')).toBe(`/operations/${id}`)
    expect(answer.headers.get('retry-after')).toBe('2')
    expect(answer.headers.get('cache-control')).toBe('no-store')
    expect(answer.headers.get('link')).toBe(`</operations/${id}/events>; rel="monitor"`)
    expect(answer.headers.get('x-content-type-options')).toBe('nosniff')
    expect(answer.headers.has('preference-applied')).toBe(false)
    expect(answer.body).toEqual({
      id,
      command: 'shop.order',
      status: 'accepted',
      done: false,
      version: 1,
      attempt: 0,
      createdAt: '2026-11-23T12:00:00.000Z',
      links: { self: `/operations/${id}`, events: `/operations/${id}/events`, cancel: `/operations/${id}` },
    })
    expect(await w.messages('orders')).toBe(1)
  })

  it('HT-2 Location answers 200 at once, also on a second bus of the same broker', async () => {
    const broker = memoryBroker()
    await using w = world({ transport: memory({ broker }) })
    const other = createBus({ name: 'shop', transport: memory({ broker }), clock: w.time })
    const [first, second] = [w.bus, other].map(bus => gatewayOf(bus).accept('POST', '/orders', Order, { to: 'orders' }))
    await w.bus.start()
    await other.start()
    const { headers } = await ask(first as never, 'POST', '/orders', { body: { sku: 'a' } })
    for (const gateway of [first, second]) {
      const resource = await ask(gateway as never, 'GET', headers.get('location') as string)
      expect([resource.status, resource.body['status']]).toEqual([200, 'accepted'])
    }
    await other.stop({ timeoutMs: 0 })
  })

  it('HT-4 HT-5 basePath, operationsPath and publicUrl are honoured in routes, links and problem types', async () => {
    await using w = world()
    const gateway = gatewayOf(w.bus, {
      basePath: '/api/v1',
      operationsPath: '/tickets',
      publicUrl: 'https://shop.example.com/',
    }).accept('POST', '/orders', Order, { to: 'orders' })
    await w.bus.start()
    const answer = await ask(gateway, 'POST', '/api/v1/orders', {
      body: { sku: 'a' },
      headers: { host: 'evil.example', 'x-forwarded-host': 'evil.example' },
    })
    const self = `https://shop.example.com/api/v1/tickets/${String(answer.body['id'])}`
    expect(answer.headers.get('location')).toBe(self)
    expect(answer.body['links']).toEqual({ self, events: `${self}/events`, cancel: self })
    expect((await ask(gateway, 'GET', `/api/v1/tickets/${String(answer.body['id'])}`)).status).toBe(200)
    const missing = await ask(gateway, 'POST', '/orders', { body: { sku: 'a' } })
    expect([missing.status, missing.body['type']]).toEqual([404, 'https://shop.example.com/api/v1/problems/not-found'])
    expect((await ask(gateway, 'GET', '/api/v1/problems/not-found')).status).toBe(200)
  })

  it('HT-12 a DELETE route takes an empty body; the schema decides', async () => {
    await using w = world()
    const gateway = gatewayOf(w.bus)
      .accept('DELETE', '/orders/:orderId', Cancel, {
        to: 'orders',
        input: ({ params }) => ({ orderId: params['orderId'] ?? '' }),
      })
      .accept('POST', '/orders', Order, { to: 'orders' })
    await w.bus.start()
    expect((await ask(gateway, 'DELETE', '/orders/7')).status).toBe(202)
    const refused = await ask(gateway, 'POST', '/orders')
    expect([refused.status, refused.body['code']]).toEqual([422, 'BUZZER_VALIDATION_FAILED'])
  })

  it('HT-22 a Unicode payload arrives as it was sent', async () => {
    await using w = world()
    const text = 'Straße 🍩 \u0000 \u2028 עברית'
    const seen: unknown[] = []
    w.bus.queue('orders').handle(Order, ({ sku }) => void seen.push(sku))
    const gateway = gatewayOf(w.bus).accept('POST', '/orders', Order)
    await w.bus.start()
    expect((await ask(gateway, 'POST', '/orders', { body: { sku: text } })).status).toBe(202)
    await w.settle()
    expect(seen).toEqual([text])
  })

  it('a gateway over operations made before, or over options for them', async () => {
    await using w = world()
    const operations = operationsOf(w.bus)
    const gateway = createGateway({ bus: w.bus, operations }).accept('POST', '/orders', Order, { to: 'orders' })
    expect(gateway.operations).toBe(operations)
    await w.bus.start()
    expect((await ask(gateway, 'POST', '/orders', { body: { sku: 'a' } })).status).toBe(202)
    await using w2 = world()
    createGateway({ bus: w2.bus, operations: { volatile: true, maxResultBytes: 5 } })
    expect(codeOf(() => createGateway({ bus: w2.bus }))).toBe('BUZZER_STORE_NOT_DURABLE')
    await w2.bus.start()
  })
})

describe('bad input is a problem that names the fault, and nothing is stored', () => {
  const throwing: StandardSchema<{ a: string }> = {
    '~standard': {
      version: 1,
      vendor: 'test',
      validate() {
        throw new Error('connection string: secret')
      },
    },
  }
  const Throwing = defineCommand('shop.throwing', throwing)
  const cases: [
    string,
    string,
    string,
    { body?: unknown; headers?: Record<string, string> },
    number,
    string,
    RegExp,
  ][] = [
    ['malformed JSON', 'POST', '/orders', { body: '{"sku": ' }, 400, 'malformed-json', /not JSON/],
    ['blank text', 'POST', '/orders', { body: '  ' }, 400, 'malformed-json', /blank/],
    ['__proto__', 'POST', '/orders', { body: '{"sku":"a","__proto__":{"x":1}}' }, 400, 'malformed-json', /__proto__/],
    ['wrong types', 'POST', '/orders', { body: { sku: 5 } }, 422, 'validation-failed', /1 fault/],
    ['an empty body', 'POST', '/orders', { headers: { 'content-length': '0' } }, 422, 'validation-failed', /fault/],
    ['an empty chunked body', 'POST', '/orders', { body: '' }, 422, 'validation-failed', /fault/],
    [
      '10 MiB',
      'POST',
      '/orders',
      { body: JSON.stringify({ sku: 'x'.repeat(10 << 20) }) },
      413,
      'body-too-large',
      /262144/,
    ],
    [
      'a wrong content type',
      'POST',
      '/orders',
      { body: 'sku=a', headers: { 'content-type': 'text/plain' } },
      415,
      'unsupported-media-type',
      /text\/plain/,
    ],
    [
      'a wrong charset',
      'POST',
      '/orders',
      { body: '{}', headers: { 'content-type': 'application/json;charset=latin1' } },
      415,
      'unsupported-media-type',
      /latin1/,
    ],
    [
      'a content encoding',
      'POST',
      '/orders',
      { body: '{}', headers: { 'content-encoding': 'gzip' } },
      415,
      'unsupported-media-type',
      /gzip/,
    ],
    ['a schema that throws', 'POST', '/throwing', { body: { a: 'x' } }, 422, 'validation-failed', /threw/],
    ['nesting', 'POST', '/orders', { body: '['.repeat(65) + ']'.repeat(65) }, 400, 'json-too-complex', /64/],
    ['an unknown route', 'POST', '/nowhere', { body: {} }, 404, 'not-found', /./],
    ['a trailing slash', 'POST', '/orders/', { body: { sku: 'a' } }, 404, 'not-found', /./],
    ['a wrong method', 'PUT', '/orders', { body: { sku: 'a' } }, 405, 'method-not-allowed', /./],
    ['an unknown operation', 'GET', '/operations/01a20947-6d1c-7a52-9f3e-6f0f4be8a111', {}, 404, 'not-found', /./],
    ['an id that is none', 'GET', '/operations/7', {}, 404, 'not-found', /./],
    [
      'an empty key',
      'POST',
      '/orders',
      { body: { sku: 'a' }, headers: { 'idempotency-key': '""' } },
      400,
      'idempotency-key-invalid',
      /./,
    ],
  ]
  it.each(cases)('%s', async (_what, method, path, options, status, problem, words) => {
    await using w = world()
    let parsed = 0
    w.bus.queue('orders').handle(Order, () => void parsed++)
    const gateway = gatewayOf(w.bus)
      .accept('POST', '/orders', Order)
      .accept('POST', '/throwing', Throwing, { to: 'throwing' })
    await w.bus.start()
    const answer = await ask(gateway, method, path, options)
    expect(answer.status).toBe(status)
    expect(answer.headers.get('content-type')).toBe('application/problem+json')
    expect(answer.body).toMatchObject({ type: `/problems/${problem}`, status })
    expect(answer.body['code']).toBe(`BUZZER_${problem.toUpperCase().replaceAll('-', '_')}`)
    expect(answer.text).toMatch(words)
    expect(answer.text).not.toContain('secret')
    await w.settle()
    expect((await gateway.operations.list()).items).toEqual([])
    expect(await w.messages('orders')).toBe(0)
    expect(parsed).toBe(0)
  })

  it('HT-3 405 lists what the path takes', async () => {
    await using w = world()
    const gateway = gatewayOf(w.bus)
      .accept('POST', '/orders', Order, { to: 'o' })
      .accept('PATCH', '/orders', Loose, { to: 'o' })
    await w.bus.start()
    expect((await ask(gateway, 'GET', '/orders')).headers.get('allow')).toBe('POST, PATCH')
    expect((await ask(gateway, 'PUT', '/operations/x')).headers.get('allow')).toBe('GET, HEAD, DELETE')
  })

  it('HT-8 pointers reach into arrays, and are at most 20', async () => {
    await using w = world()
    const gateway = gatewayOf(w.bus).accept('POST', '/orders', Order, { to: 'o' })
    await w.bus.start()
    const items = Array.from({ length: 30 }, (_, index) => ({ n: index === 3 ? 3 : 'x' }))
    const { body } = await ask(gateway, 'POST', '/orders', { body: { sku: 'a', items } })
    const errors = body['errors'] as unknown as { pointer: string; detail: string }[]
    expect(errors).toHaveLength(20)
    expect(errors[3]?.pointer).toBe('#/items/4/n')
    expect(errors[0]?.detail).toContain('number')
  })

  it('413 tells the limit', async () => {
    await using w = world()
    const gateway = gatewayOf(w.bus, { limits: { maxBodyBytes: 10 } }).accept('POST', '/orders', Order, { to: 'o' })
    await w.bus.start()
    const answer = await ask(gateway, 'POST', '/orders', { body: { sku: 'a long one' } })
    expect(answer.body).toMatchObject({ status: 413, maxBodyBytes: 10 })
    expect(answer.headers.get('connection')).toBe('close')
  })
})

describe('routes', () => {
  it('HT-6 HT-13 HT-15 refuse parameters without input, other contracts, and the same route twice', async () => {
    await using w = world()
    const gateway = gatewayOf(w.bus).accept('POST', '/orders', Order, { to: 'o' })
    expect(codeOf(() => gateway.accept('POST', '/orders/:id', Cancel, { to: 'o' }))).toBe('BUZZER_INVALID_OPTION')
    expect(codeOf(() => gateway.accept('POST', '/orders', Cancel, { to: 'o' }))).toBe('BUZZER_INVALID_OPTION')
    const input = (): { orderId: string } => ({ orderId: '1' })
    gateway.accept('PUT', '/orders/:id', Cancel, { to: 'o', input })
    expect(codeOf(() => gateway.accept('PUT', '/orders/:other', Cancel, { to: 'o', input }))).toBe(
      'BUZZER_INVALID_OPTION',
    )
    // @ts-expect-error an event is published, not accepted
    expect(codeOf(() => gateway.accept('POST', '/placed', Placed))).toBe('BUZZER_WRONG_KIND')
    // @ts-expect-error a request has an answer, not an operation
    expect(codeOf(() => gateway.accept('POST', '/quote', Quote))).toBe('BUZZER_WRONG_KIND')
    expect(codeOf(() => gateway.accept('GET' as never, '/x', Order))).toBe('BUZZER_INVALID_OPTION')
    expect(codeOf(() => gateway.accept('POST', 'orders', Order))).toBe('BUZZER_INVALID_OPTION')
    expect(codeOf(() => gateway.accept('POST', '/y', Order, { to: 'o', callback: {} } as never))).toBe(
      'BUZZER_INVALID_OPTION',
    )
    expect(codeOf(() => gateway.accept('POST', '/y', Order, { nonsense: 1 } as never))).toBe('BUZZER_INVALID_OPTION')
    await w.bus.start()
    expect(codeOf(() => gateway.accept('POST', '/late', Order, { to: 'o' }))).toBe('BUZZER_INVALID_OPTION')
  })

  it('HT-7 input sees params, query, headers and principal; its exception is 500 without text', async () => {
    await using w = world()
    const seen: unknown[] = []
    w.bus.queue('o').handle(Cancel, command => void seen.push(command))
    const gateway = gatewayOf(w.bus, { authenticate: () => ({ id: 'ann' }) }).accept(
      'POST',
      '/orders/:orderId/cancel',
      Cancel,
      {
        input({ body, params, query, headers, principal }) {
          if (query.has('boom')) throw new Error('secret')
          const why = [query.get('why'), headers.get('x-why'), principal?.id, (body as { why: string }).why].join(' ')
          return { orderId: params['orderId'] ?? '', why }
        },
      },
    )
    await w.bus.start()
    const options = { body: { why: 'w' }, headers: { 'x-why': 'h' } }
    expect((await ask(gateway, 'POST', '/orders/a%20b/cancel?why=q', options)).status).toBe(202)
    await w.settle()
    expect(seen).toEqual([{ orderId: 'a b', why: 'q h ann w' }])
    const failed = await ask(gateway, 'POST', '/orders/1/cancel?boom=1', options)
    expect([failed.status, failed.body['code']]).toEqual([500, 'BUZZER_INTERNAL'])
    expect(failed.text).not.toContain('secret')
    expect(w.log.some(line => line.level === 'error' && (line.fields['error'] as Error).message === 'secret')).toBe(
      true,
    )
  })

  it('HT-11 a parse entry takes another media type', async () => {
    await using w = world()
    const gateway = gatewayOf(w.bus).accept('POST', '/orders', Order, {
      to: 'o',
      parse: { 'text/csv': bytes => ({ sku: new TextDecoder().decode(bytes).split(',')[0] }) },
    })
    await w.bus.start()
    const headers = { 'content-type': 'text/csv', 'idempotency-key': 'csv' }
    expect((await ask(gateway, 'POST', '/orders', { body: 'a,b', headers })).status).toBe(202)
    expect((await ask(gateway, 'POST', '/orders', { body: 'a,b', headers })).headers.get('idempotency-replayed')).toBe(
      'true',
    )
    expect((await ask(gateway, 'POST', '/orders', { body: 'a,c', headers })).status).toBe(422)
    expect(
      (await ask(gateway, 'POST', '/orders', { body: 'x', headers: { 'content-type': 'text/plain' } })).headers.get(
        'accept-post',
      ),
    ).toBe('application/json, application/*+json, text/csv')
  })

  it('HT-14 a command no queue takes is a problem at start; `to` names one before any worker ran', async () => {
    const w = world()
    gatewayOf(w.bus).accept('POST', '/orders', Order)
    const failure = await w.bus.start().then(
      () => undefined,
      (error: unknown) => error,
    )
    expect(hasCode(failure, 'BUZZER_CONFIGURATION')).toBe(true)
    expect((failure as { problems: string[] }).problems).toEqual([expect.stringContaining('POST /orders')])
    await w.bus.stop({ timeoutMs: 0 })
    await using w2 = world()
    const gateway = gatewayOf(w2.bus).accept('POST', '/orders', Order, { to: 'orders' })
    await w2.bus.start()
    expect((await ask(gateway, 'POST', '/orders', { body: { sku: 'a' } })).status).toBe(202)
  })

  it('HT-16 answers 503 with Retry-After until the bus runs', async () => {
    await using w = world()
    const gateway = gatewayOf(w.bus).accept('POST', '/orders', Order, { to: 'o' })
    const early = await ask(gateway, 'POST', '/orders', { body: { sku: 'a' } })
    expect([early.status, early.body['code']]).toEqual([503, 'BUZZER_UNAVAILABLE'])
    expect(Number(early.headers.get('retry-after'))).toBeGreaterThan(0)
    expect((await ask(gateway, 'GET', '/readyz')).status).toBe(503)
    expect((await ask(gateway, 'GET', '/livez')).status).toBe(200)
    await w.bus.start()
    expect((await ask(gateway, 'POST', '/orders', { body: { sku: 'a' } })).status).toBe(202)
    expect((await ask(gateway, 'GET', '/readyz')).body).toEqual({
      status: 'pass',
      checks: { store: 'pass', transport: 'pass', draining: 'pass' },
    })
  })

  it('types: input gives the payload, a completing event types its result', async () => {
    await using w = world()
    const gateway = gatewayOf(w.bus).accept('POST', '/orders', Order, {
      to: 'o',
      completion: {
        on: Placed,
        result: event => {
          expectTypeOf(event).toEqualTypeOf<{ id: string }>()
          return event.id
        },
      },
    })
    // @ts-expect-error the payload has no number
    gateway.accept('PUT', '/orders', Order, { to: 'o', input: () => ({ sku: 5 }) })
    await w.bus.start()
  })
})

describe('durability of a 202', () => {
  it.each(['BUZZER_SEND_FAILED', 'BUZZER_QUEUE_FULL', 'BUZZER_DISK_FULL', 'BUZZER_BROKER_FULL'] as const)(
    'HT-20 %s: 503 with Retry-After, nothing later appears, and the key is not burnt',
    async code => {
      const transport = faultyStoreMemory()
      await using w = world({ transport })
      const gateway = gatewayOf(w.bus).accept('POST', '/orders', Order, { to: 'orders' })
      await w.bus.start()
      transport.failNextSend(code)
      const options = { body: { sku: 'a' }, headers: { 'idempotency-key': 'k' } }
      const refused = await ask(gateway, 'POST', '/orders', options)
      expect([refused.status, refused.body['type'], refused.body['code']]).toEqual([503, '/problems/unavailable', code])
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
      await w.advance(60_000)
      expect((await gateway.operations.list()).items).toEqual([])
      const repeated = await ask(gateway, 'POST', '/orders', options)
      expect([repeated.status, repeated.headers.get('idempotency-replayed')]).toEqual([202, null])
      expect(await w.messages('orders')).toBe(1)
    },
  )

  it('a full queue is 503', async () => {
    await using w = world({ transport: memory({ maxMessages: 2 }) })
    const gateway = gatewayOf(w.bus).accept('POST', '/orders', Order, { to: 'orders' })
    await w.bus.start()
    const statuses: number[] = []
    for (let n = 0; n < 4; n++) statuses.push((await ask(gateway, 'POST', '/orders', { body: { sku: 'a' } })).status)
    expect(statuses).toEqual([202, 202, 503, 503])
    expect((await gateway.operations.list()).items).toHaveLength(2)
  })

  it('HT-18 HT-21 no confirmation within acceptTimeoutMs: 503, and the key finds the operation if it was stored', async () => {
    const transport = faultyStoreMemory()
    await using w = world({ transport })
    const gateway = gatewayOf(w.bus, { acceptTimeoutMs: 3_000 }).accept('POST', '/orders', Order, { to: 'orders' })
    await w.bus.start()
    const release = transport.holdConfirmations()
    const options = { body: { sku: 'a' }, headers: { 'idempotency-key': 'k' } }
    const asking = ask(gateway, 'POST', '/orders', options)
    await w.settle()
    await w.advance(3_000)
    expect((await asking).status).toBe(503)
    release()
    await w.settle()
    const repeated = await ask(gateway, 'POST', '/orders', options)
    expect([repeated.status, repeated.headers.get('idempotency-replayed')]).toEqual([202, 'true'])
    expect(await w.messages('orders')).toBe(1)
  })

  it('HT-18 a client that hangs up during the commit changes nothing', async () => {
    const transport = faultyStoreMemory()
    await using w = world({ transport })
    const gateway = gatewayOf(w.bus).accept('POST', '/orders', Order, { to: 'orders' })
    await w.bus.start()
    const release = transport.holdConfirmations()
    const gone = new AbortController()
    const options = { body: { sku: 'a' }, headers: { 'idempotency-key': 'k' } }
    const asking = ask(gateway, 'POST', '/orders', { ...options, signal: gone.signal })
    await w.settle()
    gone.abort()
    release()
    await asking
    const repeated = await ask(gateway, 'POST', '/orders', options)
    expect(repeated.headers.get('idempotency-replayed')).toBe('true')
    expect((await gateway.operations.list()).items).toHaveLength(1)
  })
})

describe('Idempotency-Key', () => {
  it('HT-35 HT-37 HT-38 a repeat is the same operation, per route, for ttlMs', async () => {
    await using w = world()
    let runs = 0
    w.bus.queue('o').handle(Order, () => void runs++)
    w.bus.queue('l').handle(Loose, () => {})
    const gateway = gatewayOf(w.bus, { idempotency: { ttlMs: 10_000 } })
      .accept('POST', '/orders', Order)
      .accept('POST', '/others', Loose)
    await w.bus.start()
    const send = (path: string, body: unknown, key: string): ReturnType<typeof ask> =>
      ask(gateway, 'POST', path, { body, headers: { 'idempotency-key': key } })
    const first = await send('/orders', '{"sku":"a","items":[]}', '"k-1"')
    const again = await send('/orders', '{ "items": [], "sku": "a" }', 'k-1')
    expect(again.status).toBe(202)
    expect(again.headers.get('location')).toBe(first.headers.get('location'))
    expect([first, again].map(answer => answer.headers.get('idempotency-replayed'))).toEqual([null, 'true'])
    const reused = await send('/orders', { sku: 'b' }, 'k-1')
    expect([reused.status, reused.body['code']]).toEqual([422, 'BUZZER_IDEMPOTENCY_KEY_REUSED'])
    expect((await send('/orders?x=1', '{"sku":"a","items":[]}', 'k-1')).status).toBe(422)
    expect((await send('/others', { sku: 'a', items: [] }, 'k-1')).headers.get('idempotency-replayed')).toBe(null)
    await w.settle()
    expect(runs).toBe(1)
    await w.advance(10_001)
    expect((await send('/orders', { sku: 'b' }, 'k-1')).headers.get('idempotency-replayed')).toBe(null)
  })

  it('HT-36 a required key that is missing, and keys that are none', async () => {
    await using w = world()
    const gateway = gatewayOf(w.bus)
      .accept('POST', '/must', Order, { to: 'o', idempotency: 'required' })
      .accept('POST', '/off', Order, { to: 'o', idempotency: 'off' })
    await w.bus.start()
    const missing = await ask(gateway, 'POST', '/must', { body: { sku: 'a' } })
    expect([missing.status, missing.body['code']]).toEqual([400, 'BUZZER_IDEMPOTENCY_KEY_MISSING'])
    for (const key of ['x'.repeat(256), 'a b', '"open']) {
      const answer = await ask(gateway, 'POST', '/must', { body: { sku: 'a' }, headers: { 'idempotency-key': key } })
      expect([answer.status, answer.body['code']]).toEqual([400, 'BUZZER_IDEMPOTENCY_KEY_INVALID'])
    }
    const headers = { 'idempotency-key': 'a b' }
    expect((await ask(gateway, 'POST', '/off', { body: { sku: 'a' }, headers })).status).toBe(202)
  })

  it('HT-39 a replay of a finished operation is 202 with the finished resource, with wait 200', async () => {
    await using w = world()
    w.bus.queue('o').handle(Order, () => 'ok')
    const gateway = gatewayOf(w.bus).accept('POST', '/orders', Order)
    await w.bus.start()
    const headers = { 'idempotency-key': 'k' }
    await ask(gateway, 'POST', '/orders', { body: { sku: 'a' }, headers })
    await w.settle()
    const plain = await ask(gateway, 'POST', '/orders', { body: { sku: 'a' }, headers })
    expect([plain.status, plain.body['status'], plain.headers.get('retry-after')]).toEqual([202, 'succeeded', null])
    const waited = await ask(gateway, 'POST', '/orders', {
      body: { sku: 'a' },
      headers: { ...headers, prefer: 'wait=3' },
    })
    expect([waited.status, waited.body['result']]).toEqual([200, 'ok'])
  })

  it('HT-40 racing requests, also of two buses on one broker, store one operation', async () => {
    const broker = memoryBroker()
    await using w = world({ transport: memory({ broker }) })
    const other = createBus({ name: 'shop', transport: memory({ broker }), clock: w.time })
    const gateways = [w.bus, other].map(bus => gatewayOf(bus).accept('POST', '/orders', Order, { to: 'orders' }))
    await w.bus.start()
    await other.start()
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, n) =>
        ask(gateways[n % 2] as never, 'POST', '/orders', {
          body: { sku: 'a' },
          headers: { 'idempotency-key': 'race' },
        }),
      ),
    )
    expect(new Set(answers.map(answer => answer.status))).toEqual(new Set([202]))
    expect(new Set(answers.map(answer => answer.headers.get('location'))).size).toBe(1)
    expect(answers.filter(answer => answer.headers.get('idempotency-replayed') === null)).toHaveLength(1)
    expect(await w.messages('orders')).toBe(1)
    await other.stop({ timeoutMs: 0 })
  })

  it('a request concurrent with its original waits for it, 409 after 5 s', async () => {
    const transport = faultyStoreMemory()
    await using w = world({ transport })
    const gateway = gatewayOf(w.bus, { admission: { maxCommitMs: 60_000 } }).accept('POST', '/orders', Order, {
      to: 'orders',
    })
    await w.bus.start()
    const release = transport.holdConfirmations()
    const options = { body: { sku: 'a' }, headers: { 'idempotency-key': 'k' } }
    const original = ask(gateway, 'POST', '/orders', options)
    await w.settle()
    const impatient = ask(gateway, 'POST', '/orders', options)
    await w.settle()
    await w.advance(5_000)
    const answer = await impatient
    expect([answer.status, answer.body['code']]).toEqual([409, 'BUZZER_IDEMPOTENCY_IN_PROGRESS'])
    const patient = ask(gateway, 'POST', '/orders', options)
    await w.settle()
    release()
    expect((await patient).headers.get('location')).toBe((await original).headers.get('location'))
  })
})

describe('who asks', () => {
  it('HT-80 the principal goes into the message, and no client header does', async () => {
    await using w = world()
    const seen: Record<string, string>[] = []
    w.bus.queue('o').handle(Order, (_, ctx) => void seen.push({ ...ctx.headers }))
    const gateway = gatewayOf(w.bus, { authenticate: () => ({ id: 'ann', tenant: 'acme' }) }).accept(
      'POST',
      '/orders',
      Order,
      {
        headers: ({ headers }) => ({ lang: headers.get('accept-language') ?? '', authid: 'forged' }),
      },
    )
    await w.bus.start()
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    await ask(gateway, 'POST', '/orders', {
      body: { sku: 'a' },
      headers: { authid: 'eve', 'x-other': '1', 'accept-language': 'de', traceparent, baggage: 'a=1', cookie: 'c=1' },
    })
    await w.settle()
    expect(seen).toEqual([{ lang: 'de', authid: 'ann', authtenant: 'acme', baggage: 'a=1' }])
  })

  it('401 with a challenge, 403, and 500 for a hook that throws', async () => {
    await using w = world()
    const who: (() => { id: string } | null)[] = [
      () => null,
      () => ({ id: 'eve' }),
      () => {
        throw new Error('ldap password')
      },
    ]
    const gateway = gatewayOf(w.bus, {
      authenticate: () => (who.shift() as () => { id: string } | null)(),
      challenge: 'Basic realm="shop"',
      authorize: ({ principal }) => principal?.id !== 'eve',
    }).accept('POST', '/orders', Order, { to: 'o' })
    await w.bus.start()
    const answers = []
    for (let n = 0; n < 3; n++) answers.push(await ask(gateway, 'POST', '/orders', { body: { sku: 'a' } }))
    expect(answers.map(answer => answer.status)).toEqual([401, 403, 500])
    expect(answers[0]?.headers.get('www-authenticate')).toBe('Basic realm="shop"')
    expect(answers[2]?.text).not.toContain('ldap')
    expect((await gateway.operations.list()).items).toEqual([])
  })

  it('the checks come in their order: overload before authentication, key before body, schema before replay', async () => {
    await using w = world()
    const seen: string[] = []
    const overload = gatewayOf(w.bus, {
      authenticate: () => (seen.push('authenticate'), null),
      admission: { check: () => ({ status: 503, retryAfterMs: 1_000 }) },
    }).accept('POST', '/orders', Order, { to: 'o' })
    await w.bus.start()
    expect((await ask(overload, 'POST', '/orders', { body: '{' })).status).toBe(503)
    expect(seen).toEqual([])
  })
})

it('HT-19 1,000 concurrent accepts are answered, each stored once', async () => {
  await using w = world()
  const { opened, open } = gate()
  w.bus.queue('o', { concurrency: 1 }).handle(Order, () => opened)
  const gateway = gatewayOf(w.bus).accept('POST', '/orders', Order)
  await w.bus.start()
  const answers = await Promise.all(
    Array.from({ length: 1_000 }, (_, n) => ask(gateway, 'POST', '/orders', { body: { sku: String(n) } })),
  )
  expect(answers.filter(answer => answer.status === 202)).toHaveLength(1_000)
  expect(await w.messages('o')).toBe(1_000)
  expect((await gateway.operations.list({ limit: 1_000 })).items).toHaveLength(1_000)
  open()
})
