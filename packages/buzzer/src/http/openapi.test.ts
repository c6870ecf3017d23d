import { Validator } from '@seriousme/openapi-schema-validator'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { ask, gatewayOf, type World, world } from '../../test/http/world.ts'
import { defineCommand, defineEvent } from '../index.ts'
import { type Gateway, type GatewayOptions, openApi } from './index.ts'
import { problemKinds } from './problem-registry.ts'

const Order = defineCommand('shop.order', z.object({ sku: z.string(), count: z.number().int().default(1) }))
const Cancel = defineCommand<{ orderId: string }>('shop.cancel')
const Settled = defineEvent('pay.settled', z.object({ amount: z.number() }))

function shop(w: World, options: Partial<GatewayOptions> = {}): Gateway {
  return gatewayOf(w.bus, options)
    .accept('POST', '/orders', Order, {
      to: 'o',
      result: z.object({ total: z.number() }),
      idempotency: 'required',
      summary: 'Place an order',
      tags: ['orders'],
      parse: { 'text/csv': () => ({ sku: 'x' }) },
    })
    .accept('DELETE', '/orders/:orderId', Cancel, {
      to: 'o',
      input: ({ params }) => ({ orderId: params['orderId'] ?? '' }),
    })
    .ingest('/events', [Settled], { batch: true })
}

interface Document {
  readonly paths: Record<
    string,
    Record<string, { responses: Record<string, unknown>; parameters?: { name: string }[] }>
  >
  readonly components: {
    schemas: Record<string, { properties: Record<string, unknown> }>
    responses: Record<string, unknown>
  }
}

describe('OpenAPI', () => {
  it('HT-73 validates by a parser that is not ours, and is the same each time', async () => {
    await using w = world()
    const gateway = shop(w, {
      authenticate: () => ({ id: 'ann' }),
      rateLimit: { max: 1, perMs: 1 },
      webhooks: { secrets: [`whsec_${Buffer.alloc(32).toString('base64')}`] },
    })
    const document = openApi(gateway, {
      title: 'Shop',
      version: '2.0.0',
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } },
    })
    expect(JSON.stringify(document)).toContain('{$request.body#/callbackUrl}')
    const verdict = await new Validator().validate(structuredClone(document))
    expect(verdict.errors).toBeUndefined()
    expect(verdict.valid).toBe(true)
    expect(document['openapi']).toBe('3.1.0')
    expect(JSON.stringify(openApi(gateway))).toBe(JSON.stringify(openApi(gateway)))
    await w.bus.start()
  })

  it('HT-73 shows paths, bodies, results and every problem that can occur', async () => {
    await using w = world()
    const gateway = shop(w, { authenticate: () => ({ id: 'ann' }), rateLimit: { max: 1, perMs: 1 }, basePath: '/v1' })
    const { paths, components } = openApi(gateway) as unknown as Document
    expect(Object.keys(paths)).toEqual([
      '/v1/orders',
      '/v1/orders/{orderId}',
      '/v1/events',
      '/v1/operations/{id}',
      '/v1/operations/{id}/events',
      '/v1/operations/events',
      '/v1/livez',
      '/v1/readyz',
    ])
    const order = paths['/v1/orders']?.['post']
    expect(JSON.stringify(order)).toContain('"sku":{"type":"string"}')
    expect(Object.keys(order?.responses ?? {})).toEqual([
      '200',
      '202',
      '400',
      '401',
      '403',
      '408',
      '409',
      '410',
      '413',
      '415',
      '422',
      '429',
      '500',
      '503',
    ])
    expect(paths['/v1/orders/{orderId}']?.['delete']?.parameters?.map(({ name }) => name)).toEqual([
      'orderId',
      'Idempotency-Key',
      'Prefer',
    ])
    expect(components.schemas['Operation-post-orders']?.properties['result']).toMatchObject({
      properties: { total: { type: 'number' } },
    })
    const answers = Object.entries(problemKinds).filter(([, kind]) => 'status' in kind)
    expect(Object.keys(components.responses).toSorted()).toEqual(answers.map(([name]) => name).toSorted())
    await w.bus.start()
  })

  it('is served, behind authentication unless public, and can be turned off', async () => {
    await using w = world()
    const closed = shop(w, { authenticate: () => null })
    const open = shop(w, { authenticate: () => null, documents: { public: true, openApi: { title: 'Shop' } } })
    const off = shop(w, { documents: 'none' })
    await w.bus.start()
    expect((await ask(closed, 'GET', '/openapi.json')).status).toBe(401)
    const served = await ask(open, 'GET', '/openapi.json')
    expect([served.status, (served.body['info'] as unknown as { title: string }).title]).toEqual([200, 'Shop'])
    expect((await ask(off, 'GET', '/openapi.json')).status).toBe(404)
    expect(() => gatewayOf(w.bus, { documents: { asyncApi: true } as never })).toThrow(/not part of this version/)
  })

  it('HT-74 a schema without JSON Schema side: warned of at the start, documented as any JSON', async () => {
    await using w = world()
    const Bare = defineCommand('shop.bare', {
      '~standard': { version: 1 as const, vendor: 'test', validate: (value: unknown) => ({ value }) },
    })
    const gateway = gatewayOf(w.bus).accept('POST', '/bare', Bare as never, { to: 'o' })
    await w.bus.start()
    expect(w.log.filter(line => line.message.includes('no JSON Schema side'))).toHaveLength(1)
    const { body } = await ask(gateway, 'GET', '/openapi.json')
    expect(JSON.stringify(body)).toContain('Any JSON')
    expect((await ask(gateway, 'POST', '/bare', { body: { any: 1 } })).status).toBe(202)
  })
})
