import { expect, it } from 'vitest'
import { ask, gatewayOf, operationsOf, world } from '../../test/http/world.ts'
import { defineCommand, defineEvent } from '../index.ts'
import { faulty } from '../testing/index.ts'
import { memory } from '../transport/transports/memory.ts'

const Work = defineCommand<{ n: number }>('jobs.work')
const Shipped = defineEvent<{ tracking: string }>('jobs.shipped')

// A broker that commits nothing together: operation, key and outbox row are one commit of the store, then relayed.
const plain = (): ReturnType<typeof faulty> => faulty(memory(), { capabilities: { transactions: 'none' } })

it('an operation goes its way: accepted, running, retrying, succeeded with its result', async () => {
  await using w = world({ transport: plain() })
  w.bus.queue('work', { retry: { immediate: 1, delayedMs: [5_000], jitter: 0 } }).handle(Work, async ({ n }, ctx) => {
    if (ctx.attempt < 3) throw new Error('not yet')
    await ctx.progress(50)
    return { doubled: n * 2 }
  })
  const operations = operationsOf(w.bus)
  await w.bus.start()
  const { id } = await operations.submit(Work, { n: 4 }, { idempotencyKey: 'k' })
  await w.advance(2_000)
  expect(await operations.get(id)).toMatchObject({ status: 'retrying', attempt: 2 })
  await w.advance(5_000)
  expect(await operations.get(id)).toMatchObject({ status: 'succeeded', attempt: 3, result: { doubled: 8 } })
  expect((await operations.submit(Work, { n: 4 }, { idempotencyKey: 'k' })).id).toBe(id)
})

it('a failure, a redrive, a cancel and a completing event', async () => {
  await using w = world({ transport: plain() })
  let isFixed = false
  w.bus.queue('work', { retry: 'none' }).handle(Work, async ({ n }, ctx) => {
    if (n === 0 && !isFixed) throw new Error('no')
    if (n === 1) {
      await new Promise((_resolve, reject) => {
        ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason as Error))
      })
    }
    if (n === 2) await ctx.publish(Shipped, { tracking: 'x' })
  })
  const operations = operationsOf(w.bus)
  await w.bus.start()
  const failing = await operations.submit(Work, { n: 0 })
  const running = await operations.submit(Work, { n: 1 })
  const shipping = await operations.submit(
    Work,
    { n: 2 },
    { completion: { on: Shipped, result: event => event.tracking } },
  )
  await w.advance(2_000)
  expect(await operations.get(failing.id)).toMatchObject({ status: 'failed' })
  expect(await operations.get(shipping.id)).toMatchObject({ status: 'succeeded', result: 'x' })
  await operations.cancel(running.id)
  isFixed = true
  await w.bus.admin.deadLetters('work').redrive('all')
  await w.advance(2_000)
  expect(await operations.get(running.id)).toMatchObject({ status: 'cancelled' })
  expect(await operations.get(failing.id)).toMatchObject({ status: 'succeeded', attempt: 2 })
})

it('a broker that is down delays the work, not the acceptance', async () => {
  const transport = plain()
  await using w = world({ transport })
  w.bus.queue('work').handle(Work, ({ n }) => n)
  const gateway = gatewayOf(w.bus).accept('POST', '/work', Work)
  await w.bus.start()
  transport.inject.failSend(3)
  const accepted = await ask(gateway, 'POST', '/work', { body: { n: 1 } })
  expect(accepted.status).toBe(202)
  await w.advance(10_000)
  expect((await ask(gateway, 'GET', accepted.headers.get('location') as string)).body).toMatchObject({
    status: 'succeeded',
    result: 1,
  })
})

it('a settlement that is lost runs the command again, and the operation still ends once', async () => {
  const transport = faulty(memory())
  await using w = world({ transport })
  let runs = 0
  w.bus.queue('work').handle(Work, () => ++runs)
  const operations = operationsOf(w.bus)
  await w.bus.start()
  transport.inject.loseSettlement()
  const { id } = await operations.submit(Work, { n: 1 })
  await w.advance(60_000)
  expect(await operations.get(id)).toMatchObject({ status: 'succeeded', attempt: expect.any(Number) as number })
  expect(await w.messages('work')).toBe(0)
  const all: string[] = []
  for await (const event of operations.follow(id)) all.push(event.type)
  expect(all.filter(type => type === 'done')).toHaveLength(1)
})
