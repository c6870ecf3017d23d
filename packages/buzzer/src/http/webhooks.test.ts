import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { once } from 'node:events'
import fc from 'fast-check'
import ipaddr from 'ipaddr.js'
import { Webhook } from 'standardwebhooks'
import { afterEach, describe, expect, it } from 'vitest'
import { ask, gate, gatewayOf, type World, world } from '../../test/http/world.ts'
import { defineCommand } from '../index.ts'
import { readCallbackUrl } from './callback-url.ts'
import type { GatewayOptions } from './index.ts'
import { isPublicAddress } from './public-address.ts'
import { postWebhook } from './webhook-request.ts'
import { readSecret, signWebhook } from './webhook-signature.ts'
import type { WebhookOptions } from './webhooks.ts'

const Work = defineCommand<{ n: number }>('jobs.work')
const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
const second = `whsec_${Buffer.alloc(24, 9).toString('base64')}`
const servers: { close(): void }[] = []

afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

interface Received {
  readonly headers: Record<string, string>
  readonly body: string
}

/** A receiver; `answer` may end each request as it likes. */
async function receiver(
  answer: (n: number, outgoing: ServerResponse, incoming: IncomingMessage) => void = (_n, outgoing) =>
    void outgoing.end(),
): Promise<{ url: string; origin: string; received: Received[]; next(count: number): Promise<void> }> {
  const received: Received[] = []
  const arrivals = new EventTarget()
  const server = createServer((incoming, outgoing) => {
    let body = ''
    incoming.setEncoding('utf8')
    incoming.on('data', (chunk: string) => (body += chunk))
    incoming.on('end', () => {
      received.push({ headers: incoming.headers as Record<string, string>, body })
      answer(received.length, outgoing, incoming)
      arrivals.dispatchEvent(new Event('arrival'))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  servers.push({
    close() {
      server.closeAllConnections()
      server.close()
    },
  })
  const origin = `http://127.0.0.1:${(server.address() as { port: number }).port}`
  return {
    url: `${origin}/hook?t=1`,
    origin,
    received,
    async next(count) {
      while (received.length < count) await once(arrivals as never, 'arrival')
    },
  }
}

function calling(
  w: World,
  webhooks: Partial<WebhookOptions>,
  more: Partial<GatewayOptions> = {},
): ReturnType<typeof gatewayOf> {
  return gatewayOf(w.bus, { webhooks: { secrets: [secret], ...webhooks }, ...more }).accept('POST', '/work', Work)
}

/** Real sockets need real time: lets them, and what they cause on virtual time, happen. */
async function until(w: World, test: () => boolean | Promise<boolean>): Promise<void> {
  for (let n = 0; n < 500 && !(await test()); n++) {
    await new Promise(resolve => setTimeout(resolve, 5))
    await w.settle()
  }
  expect(await test()).toBe(true)
}

const typeOf = ({ body }: Received): string => (JSON.parse(body) as { type: string }).type

describe('webhooks', () => {
  it('HT-58 tell of all four ends, signed as Standard Webhooks says', async () => {
    const hook = await receiver()
    await using w = world()
    const { opened, open } = gate()
    w.bus.queue('work', { retry: 'none', concurrency: 4 }).handle(Work, async ({ n }, ctx) => {
      if (n === 0) return { ok: true }
      if (n === 1) throw new Error('no')
      await Promise.race([
        opened,
        new Promise((_resolve, reject) => {
          ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason as Error))
        }),
      ])
      return null
    })
    const gateway = calling(w, { allow: [hook.origin] }).accept('POST', '/late', Work, {
      expiresAfterMs: 1_000,
      to: 'nobody',
    })
    await w.bus.start()
    const send = (path: string, n: number): ReturnType<typeof ask> =>
      ask(gateway, 'POST', path, { body: { n, callbackUrl: hook.url } })
    await send('/work', 0)
    await send('/work', 1)
    const running = await send('/work', 2)
    await send('/late', 3)
    await w.settle()
    await ask(gateway, 'DELETE', running.headers.get('location') as string)
    await w.advance(1_500)
    await until(w, () => hook.received.length === 4)
    open()
    expect(hook.received.map(typeOf).toSorted()).toEqual([
      'operation.cancelled',
      'operation.expired',
      'operation.failed',
      'operation.succeeded',
    ])
    const done = hook.received.find(one => typeOf(one) === 'operation.succeeded') as Received
    expect(JSON.parse(done.body)).toMatchObject({ data: { status: 'succeeded', result: { ok: true }, links: {} } })
    expect(done.headers).toMatchObject({ 'content-type': 'application/json', 'user-agent': 'buzzer' })
    expect(JSON.stringify(hook.received)).not.toContain('callbackUrl')
    // Its clock is the real one; the time of the signature is virtual, so the check of freshness is left aside.
    const oracle = new Webhook(secret)
    const at = new Date(Number(done.headers['webhook-timestamp']) * 1000)
    expect(oracle.sign(done.headers['webhook-id'] as string, at, done.body)).toBe(done.headers['webhook-signature'])
  })

  it('HT-59 two secrets sign twice; HT-63 a bad secret is refused at start', async () => {
    const timestamp = Math.floor(Date.now() / 1000)
    const header = signWebhook([secret, second].map(readSecret), 'msg_1', timestamp, '{"a":1}')
    expect(header.split(' ')).toHaveLength(2)
    const headers = { 'webhook-id': 'msg_1', 'webhook-timestamp': String(timestamp), 'webhook-signature': header }
    for (const one of [secret, second]) expect(new Webhook(one).verify('{"a":1}', headers)).toEqual({ a: 1 })
    await using w = world()
    for (const bad of [
      '',
      'abc',
      'whsec_',
      'whsec_!!!!',
      `whsec_${Buffer.alloc(23).toString('base64')}`,
      `whsec_${Buffer.alloc(65).toString('base64')}`,
    ]) {
      expect(() => gatewayOf(w.bus, { webhooks: { secrets: [bad] } }), bad).toThrow(/24 to 64 bytes/)
    }
    expect(() => gatewayOf(w.bus, { webhooks: { secrets: [] } })).toThrow(/needs secrets/)
    await w.bus.start()
  })

  it('HT-60 retries by plan, honours a longer Retry-After; what never arrives is a dead letter, and its redrive delivers', async () => {
    let isUp = false
    const hook = await receiver((n, outgoing) => {
      if (isUp) outgoing.end()
      else outgoing.writeHead(n === 2 ? 429 : 500, n === 2 ? { 'retry-after': '100' } : {}).end()
    })
    await using w = world()
    w.bus.queue('work').handle(Work, () => {})
    const gateway = calling(w, { allow: [hook.origin], retryDelaysMs: [10_000, 20_000] })
    await w.bus.start()
    await ask(gateway, 'POST', '/work', { body: { n: 1, callbackUrl: hook.url } })
    await until(w, () => hook.received.length === 1)
    await w.settle()
    await until(w, async () => (await w.messages('shop.webhooks')) === 1)
    await w.advance(10_000)
    await until(w, () => hook.received.length === 2)
    await w.advance(99_000)
    expect(hook.received).toHaveLength(2)
    await w.advance(2_000)
    await until(w, () => hook.received.length === 3)
    await until(w, async () => (await w.dead('shop.webhooks')) === 1)
    isUp = true
    await w.bus.admin.deadLetters('shop.webhooks').redrive('all')
    await until(w, () => hook.received.length === 4)
    expect(new Set(hook.received.map(({ headers }) => headers['webhook-id'])).size).toBe(1)
    await until(w, async () => (await w.messages('shop.webhooks')) === 0)
  })

  it('HT-60 410 ends the callback; a redirect is a failure and is not followed', async () => {
    const target = await receiver()
    const gone = await receiver((_n, outgoing) => void outgoing.writeHead(410).end())
    const moved = await receiver((_n, outgoing) => void outgoing.writeHead(307, { location: target.url }).end())
    await using w = world()
    w.bus.queue('work').handle(Work, () => {})
    const gateway = calling(w, { allow: () => true, retryDelaysMs: [] })
    await w.bus.start()
    for (const { url } of [gone, moved]) await ask(gateway, 'POST', '/work', { body: { n: 1, callbackUrl: url } })
    await until(w, () => gone.received.length + moved.received.length === 2)
    await until(w, async () => (await w.messages('shop.webhooks')) === 1)
    expect(await w.dead('shop.webhooks')).toBe(1)
    expect(target.received).toEqual([])
  })

  it('HT-61 the time limit covers an answer that trickles', async () => {
    const trickles: NodeJS.Timeout[] = []
    const hook = await receiver((_n, outgoing) => {
      outgoing.writeHead(200, { 'content-length': '100' })
      trickles.push(setInterval(() => outgoing.write('x'), 10))
    })
    const signal = AbortSignal.timeout(150)
    const startedAt = performance.now()
    await expect(
      postWebhook({
        url: new URL(hook.url),
        headers: {},
        body: '{}',
        signal,
        anyAddress: true,
        resolve: () => Promise.resolve([]),
      }),
    ).rejects.toThrow()
    expect(performance.now() - startedAt).toBeLessThan(2_000)
    for (const trickle of trickles) clearInterval(trickle)
  })

  it('an endless answer is cut after 4 KiB and counts by its status', async () => {
    const hook = await receiver((_n, outgoing) => {
      outgoing.writeHead(200)
      const more = (): void => {
        while (!outgoing.destroyed && outgoing.write('x'.repeat(1_000)));
        if (!outgoing.destroyed) outgoing.once('drain', more)
      }
      more()
    })
    const signal = AbortSignal.timeout(5_000)
    const answer = await postWebhook({
      url: new URL(hook.url),
      headers: {},
      body: '{}',
      signal,
      anyAddress: true,
      resolve: () => Promise.resolve([]),
    })
    expect(answer.status).toBe(200)
  })

  it('HT-62 a result that is too large is left out', async () => {
    const hook = await receiver()
    await using w = world()
    w.bus.queue('work').handle(Work, () => 'x'.repeat(30_000))
    const gateway = calling(w, { allow: [hook.origin] })
    await w.bus.start()
    await ask(gateway, 'POST', '/work', { body: { n: 1, callbackUrl: hook.url } })
    await until(w, () => hook.received.length === 1)
    const { data } = JSON.parse(hook.received[0]?.body as string) as { data: Record<string, unknown> }
    expect(data).toMatchObject({ status: 'succeeded', resultOmitted: 'too-large' })
    expect(data).not.toHaveProperty('result')
  })

  it('a redriven operation is told of again, under a new id', async () => {
    const hook = await receiver()
    await using w = world()
    let isFixed = false
    w.bus.queue('work', { retry: 'none' }).handle(Work, () => {
      if (!isFixed) throw new Error('no')
    })
    const gateway = calling(w, { allow: [hook.origin] })
    await w.bus.start()
    await ask(gateway, 'POST', '/work', { body: { n: 1, callbackUrl: hook.url } })
    await until(w, () => hook.received.length === 1)
    isFixed = true
    await w.bus.admin.deadLetters('work').redrive('all')
    await w.settle()
    await until(w, () => hook.received.length === 2)
    expect(hook.received.map(typeOf)).toEqual(['operation.failed', 'operation.succeeded'])
    expect(new Set(hook.received.map(({ headers }) => headers['webhook-id'])).size).toBe(2)
  })

  it('HT-67 the receiver may be named in query or header, or nowhere', async () => {
    const hook = await receiver()
    await using w = world()
    const seen: unknown[] = []
    w.bus.queue('work').handle(Work, message => void seen.push(message))
    const gateway = gatewayOf(w.bus, { webhooks: { secrets: [secret], allow: [hook.origin] } })
      .accept('POST', '/query', Work, { callback: { in: 'query', name: 'cb' } })
      .accept('POST', '/header', Work, { callback: { in: 'header', name: 'x-callback' } })
      .accept('POST', '/off', Work, { callback: false })
    await w.bus.start()
    await ask(gateway, 'POST', `/query?cb=${encodeURIComponent(hook.url)}`, { body: { n: 1 } })
    await ask(gateway, 'POST', '/header', { body: { n: 2 }, headers: { 'x-callback': hook.url } })
    expect((await ask(gateway, 'POST', '/header', { body: { n: 2 }, headers: { 'x-callback': 'x' } })).status).toBe(422)
    await ask(gateway, 'POST', '/off', { body: { n: 3, callbackUrl: 'nonsense' } })
    await until(w, () => hook.received.length === 2)
    expect(seen).toEqual([{ n: 1 }, { n: 2 }, { n: 3, callbackUrl: 'nonsense' }])
  })

  it('without webhooks the member is left to the schema, and submit refuses a callbackUrl', async () => {
    await using w = world()
    const seen: unknown[] = []
    w.bus.queue('work').handle(Work, message => void seen.push(message))
    const gateway = gatewayOf(w.bus).accept('POST', '/work', Work)
    await w.bus.start()
    await ask(gateway, 'POST', '/work', { body: { n: 1, callbackUrl: 'x' } })
    await w.settle()
    expect(seen).toEqual([{ n: 1, callbackUrl: 'x' }])
    await expect(gateway.operations.submit(Work, { n: 1 }, { callbackUrl: 'https://x.example' })).rejects.toMatchObject(
      {
        code: 'BUZZER_UNSUPPORTED',
      },
    )
  })
})

describe('the guard against requests to inside', () => {
  it.each([
    5,
    null,
    '',
    '/relative',
    'http://example.com/',
    'ftp://example.com/',
    'javascript:alert(1)',
    'https://user@example.com/',
    'https://user:pass@example.com/',
    'https://example.com:80/',
    'https://example.com:22/',
    'https://localhost/',
    'https://localhost./',
    'https://a.localhost/',
    'https://127.0.0.1/',
    'https://2130706433/',
    'https://0x7f.1/',
    'https://0177.0.0.1/',
    'https://10.0.0.1/',
    'https://169.254.169.254/latest/meta-data',
    'https://0.0.0.0/',
    'https://[::1]/',
    'https://[::ffff:127.0.0.1]/',
    'https://[::ffff:8.8.8.8]/',
    'https://[64:ff9b::7f00:1]/',
    'https://[2002:7f00:1::]/',
    'https://[2001:0:1::]/',
    'https://[fe80::1]/',
    'https://[fc00::1]/',
    'https://[fe80::1%25eth0]/',
  ])('%j is refused', async url => {
    expect(typeof readCallbackUrl(url, undefined)).toBe('string')
  })

  it.each(['https://example.com/hook', 'https://example.com:8443/', 'https://8.8.8.8/', 'https://[2606:4700::1111]/'])(
    '%j is taken',
    url => {
      expect(readCallbackUrl(url, undefined)).toBeInstanceOf(URL)
    },
  )

  it('allow lifts scheme and address, nothing else', () => {
    const allow = ['http://127.0.0.1:4000']
    expect(readCallbackUrl('http://127.0.0.1:4000/x', allow)).toBeInstanceOf(URL)
    expect(typeof readCallbackUrl('http://127.0.0.1:4001/x', allow)).toBe('string')
    expect(typeof readCallbackUrl('http://u@127.0.0.1:4000/x', allow)).toBe('string')
    expect(typeof readCallbackUrl('ftp://127.0.0.1:4000/x', () => true)).toBe('string')
  })

  it('a refused URL is 422, and nothing is stored', async () => {
    await using w = world()
    const gateway = gatewayOf(w.bus, { webhooks: { secrets: [secret] } }).accept('POST', '/work', Work, { to: 'work' })
    await w.bus.start()
    const answer = await ask(gateway, 'POST', '/work', { body: { n: 1, callbackUrl: 'http://169.254.169.254/' } })
    expect([answer.status, answer.body['code']]).toEqual([422, 'BUZZER_CALLBACK_URL_REFUSED'])
    expect((await gateway.operations.list()).items).toEqual([])
  })

  it('HT-64 HT-65 every address of a name must be public, and the checked one is the connected one', async () => {
    await using w = world()
    w.bus.queue('work').handle(Work, () => {})
    let lookups = 0
    const gateway = calling(w, {
      retryDelaysMs: [],
      resolve: () => {
        lookups++
        return Promise.resolve([
          { address: '93.184.216.34', family: 4 },
          { address: '10.0.0.1', family: 4 },
        ])
      },
    })
    await w.bus.start()
    await ask(gateway, 'POST', '/work', { body: { n: 1, callbackUrl: 'https://rebind.example/' } })
    await until(w, async () => (await w.dead('shop.webhooks')) === 1)
    const page = await w.bus.admin.deadLetters('shop.webhooks').list()
    expect(page.items[0]?.reason).toBe('blocked-address')
    expect(lookups).toBe(1)
    const hook = await receiver()
    const answers = [[{ address: '127.0.0.1', family: 4 }], [{ address: '10.9.9.9', family: 4 }]]
    const answer = await postWebhook({
      url: new URL(hook.url.replace('127.0.0.1', 'moving.example')),
      headers: {},
      body: '{}',
      signal: AbortSignal.timeout(5_000),
      anyAddress: true,
      resolve: () => Promise.resolve(answers.shift() ?? []),
    })
    expect([answer.status, answers]).toEqual([200, [[{ address: '10.9.9.9', family: 4 }]]])
  })

  it('HT-66 agrees with ipaddr.js: what it calls unicast and global is public, and nothing else', () => {
    const check = (address: string): void => {
      const parsed = ipaddr.parse(address)
      const range: string = parsed.range()
      if (isPublicAddress(address)) expect(range, address).toBe('unicast')
      else if (range === 'unicast') {
        // Ours is stricter: outside 2000::/3 nothing is assigned, and 2001::/23, 192.88.99.0/24 and 3fff::/20 are special.
        expect(address, address).not.toMatch(/^(?:8\.8\.|1\.1\.|2606:4700:)/)
        if (parsed.kind() === 'ipv4') expect(address).toMatch(/^192\.0\.0\.|^192\.88\.99\./)
        else {
          const isInside = ((parsed.toByteArray()[0] ?? 0) & 0xe0) === 0x20
          if (isInside) expect(parsed.toNormalizedString()).toMatch(/^2001:|^3fff:/)
        }
      }
    }
    fc.assert(fc.property(fc.ipV4(), check), { numRuns: 5_000 })
    fc.assert(fc.property(fc.ipV6(), check), { numRuns: 5_000 })
  })
})
