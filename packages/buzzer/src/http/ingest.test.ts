import { CloudEvent, HTTP } from 'cloudevents'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { faultyStoreMemory } from '../../test/http/faulty-memory.ts'
import { type Answered, ask, gatewayOf, type World, world } from '../../test/http/world.ts'
import { defineCommand, defineEvent } from '../index.ts'
import type { Gateway } from './index.ts'

const Settled = defineEvent('pay.settled', z.object({ amount: z.number() }))
const Refunded = defineEvent<{ amount: number }>('pay.refunded')

interface Seen {
  readonly id: string
  readonly source: string
  readonly sentAt: string
  readonly headers: Readonly<Record<string, string>>
  readonly message: unknown
}

function receiving(w: World, seen: Seen[]): void {
  w.bus.queue('books').handle(Settled, (message, ctx) => {
    seen.push({
      id: ctx.id,
      source: ctx.source,
      sentAt: ctx.sentAt.toISOString(),
      headers: { ...ctx.headers },
      message,
    })
  })
}

const attributes = { id: 'e-1', source: '/bank', type: 'pay.settled', specversion: '1.0', time: '2026-01-02T03:04:05Z' }

function binary(
  gateway: Gateway,
  more: Record<string, string | undefined> = {},
  data: unknown = { amount: 5 },
): Promise<Answered> {
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries({ ...attributes, ...more }))
    if (value !== undefined) headers[`ce-${name}`] = value
  return ask(gateway, 'POST', '/events', { body: data, headers })
}

function structured(gateway: Gateway, more: object = {}): Promise<Answered> {
  return ask(gateway, 'POST', '/events', {
    body: { ...attributes, data: { amount: 5 }, ...more },
    headers: { 'content-type': 'application/cloudevents+json' },
  })
}

describe('CloudEvents in', () => {
  it('HT-68 binary and structured give the same message', async () => {
    await using w = world()
    const seen: Seen[] = []
    receiving(w, seen)
    const gateway = gatewayOf(w.bus).ingest('/events', [Settled])
    await w.bus.start()
    const answers = [await binary(gateway), await structured(gateway, { id: 'e-2' })]
    expect(answers.map(({ status, body }) => [status, body])).toEqual([
      [202, { accepted: 1 }],
      [202, { accepted: 1 }],
    ])
    await w.settle()
    const same = { source: '/bank', sentAt: '2026-01-02T03:04:05.000Z', headers: {}, message: { amount: 5 } }
    expect(seen).toEqual([
      { id: 'e-1', ...same },
      { id: 'e-2', ...same },
    ])
    expect((await gateway.operations.list()).items).toEqual([])
  })

  it('HT-71 the same source and id is answered 202 and published once, for deduplicateMs', async () => {
    await using w = world()
    const seen: Seen[] = []
    receiving(w, seen)
    const gateway = gatewayOf(w.bus).ingest('/events', [Settled], { deduplicateMs: 10_000 })
    await w.bus.start()
    for (let n = 0; n < 3; n++) expect((await binary(gateway)).status).toBe(202)
    expect((await structured(gateway)).status).toBe(202)
    expect((await binary(gateway, { source: '/other' })).status).toBe(202)
    await w.settle()
    expect(seen.map(({ source, id }) => [source, id])).toEqual([
      ['/bank', 'e-1'],
      ['/other', 'e-1'],
    ])
    await w.advance(10_001)
    await binary(gateway)
    await w.settle()
    expect(seen).toHaveLength(3)
  })

  it('HT-69 a batch only where declared; one bad event refuses all', async () => {
    await using w = world()
    const seen: Seen[] = []
    receiving(w, seen)
    const gateway = gatewayOf(w.bus)
      .ingest('/events', [Settled])
      .ingest('/batches', [Settled, Refunded], { batch: true })
    await w.bus.start()
    const send = (path: string, body: unknown): Promise<Answered> =>
      ask(gateway, 'POST', path, { body, headers: { 'content-type': 'application/cloudevents-batch+json' } })
    const good = [1, 2, 3].map(n => ({ ...attributes, id: `b-${n}`, data: { amount: n } }))
    expect((await send('/events', good)).status).toBe(415)
    const bad = await send('/batches', [...good, { ...attributes, id: 'b-4', data: { amount: 'x' } }])
    expect([bad.status, bad.body['code']]).toEqual([422, 'BUZZER_VALIDATION_FAILED'])
    await w.settle()
    expect(seen).toEqual([])
    expect((await send('/batches', good)).body).toEqual({ accepted: 3 })
    expect((await send('/batches', [])).body).toEqual({ accepted: 0 })
    expect((await send('/batches', {})).status).toBe(400)
    await w.settle()
    expect(seen.map(({ id }) => id)).toEqual(['b-1', 'b-2', 'b-3'])
  })

  it('HT-70 percent-encoding of binary attributes, data_base64 of structured ones', async () => {
    await using w = world()
    const sent: Record<string, string>[] = []
    const gateway = gatewayOf(w.bus).ingest('/events', [Settled])
    w.bus.queue('books').handle(Settled, (_, ctx) => void sent.push({ id: ctx.id, key: ctx.key ?? '' }))
    await w.bus.start()
    expect((await binary(gateway, { subject: 'Euro%20%E2%82%AC', partitionkey: 'k%201' })).status).toBe(202)
    expect((await binary(gateway, { subject: '%zz' })).status).toBe(400)
    const data_base64 = Buffer.from('{"amount":7}').toString('base64')
    expect((await structured(gateway, { id: 'e-3', data: undefined, data_base64 })).status).toBe(202)
    expect((await structured(gateway, { id: 'e-4', data_base64 })).status).toBe(400)
    await w.settle()
    expect(sent).toEqual([
      { id: 'e-1', key: 'k 1' },
      { id: 'e-3', key: '' },
    ])
  })

  it.each([
    ['no id', { id: undefined }, 400],
    ['an empty source', { source: '' }, 400],
    ['another version', { specversion: '0.3' }, 400],
    ['no version', { specversion: undefined }, 400],
    ['an id with a space', { id: 'a%20b' }, 400],
    ['an id of 129 characters', { id: 'x'.repeat(129) }, 400],
    ['a bad attribute name', { 'my-ext': '1' }, 400],
    ['a time that is none', { time: 'yesterday' }, 400],
    ['an undeclared type', { type: 'pay.unknown' }, 422],
  ])('%s is refused and nothing published', async (_what, more, status) => {
    await using w = world()
    const seen: Seen[] = []
    receiving(w, seen)
    const gateway = gatewayOf(w.bus).ingest('/events', [Settled])
    await w.bus.start()
    const answer = await binary(gateway, more)
    expect([answer.status, answer.body['code']]).toEqual([
      status,
      status === 400 ? 'BUZZER_INVALID_CLOUDEVENT' : 'BUZZER_UNKNOWN_EVENT',
    ])
    await w.settle()
    expect(seen).toEqual([])
  })

  it('data against its schema is 422; what Buzzer says itself is not believed of a sender', async () => {
    await using w = world()
    const seen: unknown[] = []
    const gateway = gatewayOf(w.bus).ingest('/events', [Settled])
    w.bus
      .queue('books')
      .handle(Settled, (_, ctx) => void seen.push([ctx.conversationId, ctx.redrives, ctx.causationId]))
    await w.bus.start()
    expect((await binary(gateway, {}, { amount: 'x' })).body['errors']).toMatchObject([{ pointer: '#/amount' }])
    expect(
      (await binary(gateway, { conversationid: 'forged', redrives: '7', causationid: 'x', dataref: 'x' })).status,
    ).toBe(202)
    await w.settle()
    expect(seen).toEqual([['e-1', 0, undefined]])
  })

  it('a commit that fails is 503, and the repeat is published once', async () => {
    const transport = faultyStoreMemory()
    await using w = world({ transport })
    const seen: Seen[] = []
    receiving(w, seen)
    const gateway = gatewayOf(w.bus).ingest('/events', [Settled])
    await w.bus.start()
    transport.failNextSend('BUZZER_DISK_FULL')
    const refused = await binary(gateway)
    expect([refused.status, Number(refused.headers.get('retry-after')) > 0]).toEqual([503, true])
    expect((await binary(gateway)).status).toBe(202)
    await w.settle()
    expect(seen).toHaveLength(1)
  })

  it('the webhook handshake is answered for listed origins', async () => {
    await using w = world()
    const gateway = gatewayOf(w.bus).ingest('/events', [Settled], { handshakeOrigins: ['events.example.com'] })
    await w.bus.start()
    const shake = (origin: string): Promise<Answered> =>
      ask(gateway, 'OPTIONS', '/events', { headers: { 'webhook-request-origin': origin } })
    const good = await shake('events.example.com')
    expect([good.status, good.headers.get('webhook-allowed-origin')]).toEqual([200, 'events.example.com'])
    expect((await shake('evil.example')).status).toBe(403)
  })

  it('HT-72 messages made by the CloudEvents SDK are understood', async () => {
    await using w = world()
    const seen: Seen[] = []
    receiving(w, seen)
    const gateway = gatewayOf(w.bus).ingest('/events', [Settled])
    await w.bus.start()
    for (const mode of ['binary', 'structured'] as const) {
      const event = new CloudEvent({
        id: mode,
        source: '/sdk',
        type: 'pay.settled',
        subject: 'ümläut',
        data: { amount: 1 },
      })
      const { headers, body } = HTTP[mode](event)
      const answer = await ask(gateway, 'POST', '/events', {
        body: typeof body === 'string' ? body : JSON.stringify(body),
        headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, encodeURI(String(value))])),
      })
      expect(answer.status).toBe(202)
    }
    await w.settle()
    expect(seen.map(({ id, message }) => [id, message])).toEqual([
      ['binary', { amount: 1 }],
      ['structured', { amount: 1 }],
    ])
  })

  it('takes events only, and each path once', async () => {
    await using w = world()
    const Command = defineCommand<{ n: number }>('pay.command')
    const gateway = gatewayOf(w.bus).ingest('/events', [Settled])
    expect(() => gateway.ingest('/commands', [Command as never])).toThrow(/events only/)
    expect(() => gateway.ingest('/events', [Settled])).toThrow(/already/)
    expect(() => gateway.accept('POST', '/events', Command)).toThrow(/already/)
    expect(() => gateway.ingest('/none', [])).toThrow(/no event/)
    await w.bus.start()
  })
})
