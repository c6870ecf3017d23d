import { type } from 'arktype'
import * as v from 'valibot'
import { expect, it } from 'vitest'
import { z } from 'zod'
import { ask, gatewayOf, world } from '../../test/http/world.ts'
import { type CommandContract, defineCommand } from '../index.ts'

type Order = { sku: string; items: { n: number }[] }

const libraries: readonly [string, CommandContract<Order>][] = [
  ['zod', defineCommand('shop.zod', z.object({ sku: z.string(), items: z.array(z.object({ n: z.number() })) }))],
  [
    'valibot',
    defineCommand('shop.valibot', v.object({ sku: v.string(), items: v.array(v.object({ n: v.number() })) })),
  ],
  ['arktype', defineCommand('shop.arktype', type({ sku: 'string', items: type({ n: 'number' }).array() }))],
]

it.each(libraries)('HT-8 %s: a fault is told with its pointer, a good body is accepted', async (_name, Order) => {
  await using w = world()
  const gateway = gatewayOf(w.bus).accept('POST', '/orders', Order, { to: 'orders' })
  await w.bus.start()
  const bad = await ask(gateway, 'POST', '/orders', { body: { sku: 'a', items: [{ n: 1 }, { n: 'x' }] } })
  expect([bad.status, bad.body['code']]).toEqual([422, 'BUZZER_VALIDATION_FAILED'])
  expect(bad.body['errors']).toMatchObject([{ pointer: '#/items/1/n' }])
  expect((await ask(gateway, 'POST', '/orders', { body: { sku: 'a', items: [{ n: 1 }] } })).status).toBe(202)
  expect(await w.messages('orders')).toBe(1)
})
