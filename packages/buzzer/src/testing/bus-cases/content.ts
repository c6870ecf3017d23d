import assert from 'node:assert/strict'
import {
  bytes,
  defineCommand,
  defineEvent,
  encodeCloudEvent,
  encrypted,
  json,
  type StandardSchema,
  upcast,
} from '../../message/index.ts'
import type { HandlerContext } from '../../bus/index.ts'
import { type BusCase, once } from '../conformance/bus-world.ts'

interface Order {
  readonly id: string
}

type Context = HandlerContext<unknown>

/** A schema by hand: `{ id }` with a default and a transform, to be applied once. */
const counting: StandardSchema<{ id: string; tag?: string }, { id: string; tag: string }> = {
  '~standard': {
    version: 1,
    vendor: 'suite',
    validate: value => {
      const given = value as { id?: unknown; tag?: string }
      if (typeof given?.id !== 'string') return { issues: [{ message: 'id is not text', path: ['id'] }] }
      return { value: { id: `${given.id}!`, tag: given.tag ?? 'none' } }
    },
  },
}

export const content: readonly BusCase[] = [
  {
    name: 'C1 outside a handler → conversation id is the own id, sentAt is now, source is the bus',
    run: async world => {
      const Placed = defineEvent<Order>(world.name('placed'))
      const seen = world.seen<{
        id: string
        conversation: string
        sentAt: Date
        source: string
        causation: string | undefined
      }>()
      const bus = await world.started(
        bus =>
          void bus.queue(world.name('q')).handle(Placed, (_, ctx) => {
            const { id, conversationId, sentAt, source, causationId } = ctx
            seen.add({ id, conversation: conversationId, sentAt, source, causation: causationId })
          }),
      )
      const before = Date.now()
      const id = await bus.publish(Placed, { id: '1' })
      const [first] = await seen.exactly(1)
      assert.ok(first)
      assert.deepEqual([first.id, first.conversation, first.source, first.causation], [id, id, '/suite', undefined])
      assert.ok(first.sentAt.getTime() >= before && first.sentAt.getTime() <= Date.now())
    },
  },
  {
    name: 'C2 in a handler → conversation kept, causation is the handled id, source is the queue; newConversation starts another',
    run: async world => {
      const First = defineEvent<Order>(world.name('first'))
      const Second = defineEvent<Order>(world.name('second'))
      const queue = world.name('q')
      const seen = world.seen<Pick<Context, 'id' | 'conversationId' | 'causationId' | 'source'>>()
      const bus = await world.started(bus => {
        bus.queue(queue).handle(First, async (_, ctx) => {
          await ctx.publish(Second, { id: 'same' })
          await ctx.publish(Second, { id: 'new' }, { newConversation: true })
        })
        bus
          .queue(world.name('q'), { concurrency: 1 })
          .handle(Second, (_, { id, conversationId, causationId, source }) =>
            seen.add({ id, conversationId, causationId, source }),
          )
      })
      const id = await bus.publish(First, { id: '1' })
      const [same, fresh] = await seen.exactly(2)
      assert.ok(same && fresh)
      assert.deepEqual([same.conversationId, same.causationId, same.source], [id, id, `/suite/${queue}`])
      assert.deepEqual([fresh.conversationId, fresh.causationId], [fresh.id, id])
    },
  },
  {
    name: 'C3 correlation id: option before contract before inheritance',
    run: async world => {
      const Plain = defineEvent<Order>(world.name('plain'))
      const Own = defineEvent<Order>(world.name('own'), { correlationId: order => `contract-${order.id}` })
      const seen = world.seen<string | undefined>()
      const bus = await world.started(bus => {
        const queue = bus.queue(world.name('q'), { orderBy: 'none', concurrency: 1 })
        queue.handle(Plain, async (order, ctx) => {
          seen.add(ctx.correlationId)
          if (order.id !== 'start') return
          await ctx.publish(Plain, { id: 'child' })
          await ctx.publish(Own, { id: '1' })
          await ctx.publish(Own, { id: '1' }, { correlationId: 'option' })
        })
        queue.handle(Own, (_, ctx) => seen.add(ctx.correlationId))
      })
      await bus.publish(Plain, { id: 'start' }, { correlationId: 'root' })
      assert.deepEqual((await seen.exactly(4)).toSorted(), ['contract-1', 'option', 'root', 'root'])
    },
  },
  {
    name: 'C4 forward → same id, bytes and headers on the other queue',
    run: async world => {
      const Placed = defineEvent<Order>(world.name('placed'))
      const Other = defineEvent<Order>(world.name('other'))
      const two = world.name('two')
      const bus = await world.started(bus => {
        bus.queue(world.name('one')).handle(Placed, (_, ctx) => ctx.forward(two).then(() => {}))
        // It does not know the type, so what was forwarded lies in its dead letters, as it arrived.
        bus.queue(two).handle(Other, () => {})
      })
      const id = await bus.publish(Placed, { id: 'x' }, { headers: { tenant: 'a' }, key: 'k' })
      const [letter] = await world.deadLetters(bus, two, 1)
      assert.deepEqual([letter?.messageId, letter?.type, letter?.key], [id, Placed.type, 'k'])
      assert.deepEqual([Buffer.from(letter?.body ?? []).toString(), letter?.headers['tenant']], ['{"id":"x"}', 'a'])
    },
  },
  {
    name: 'C5 foreign JSON without type → rawContract; without that option → no-handler; the queue lives on',
    run: async world => {
      const Raw = defineCommand<Order>(world.name('raw'))
      const [known, unknown] = [world.name('known'), world.name('unknown')]
      const seen = world.seen<string>()
      const bus = await world.started(bus => {
        bus.queue(known, { rawContract: Raw }).handle(Raw, order => seen.add(order.id))
        bus.queue(unknown).handle(defineEvent<Order>(world.name('e')), () => {})
      })
      await bus.sendRaw({ queue: known }, { body: Buffer.from('{"id":"r"}') })
      await bus.sendRaw({ queue: unknown }, { body: Buffer.from('{"id":"r"}') })
      assert.deepEqual(await seen.exactly(1), ['r'])
      assert.equal((await world.deadLetters(bus, unknown, 1))[0]?.reason, 'no-handler')
    },
  },
  {
    name: 'C5 a structured CloudEvent is understood, and sent when the bus says so',
    run: async world => {
      const Placed = defineEvent<Order>(world.name('placed'))
      const queue = world.name('q')
      const seen = world.seen<{ id: string; order: string; source: string; conversation: string }>()
      const bus = await world.started(
        bus =>
          void bus.queue(queue).handle(Placed, (order, ctx) => {
            seen.add({ id: ctx.id, order: order.id, source: ctx.source, conversation: ctx.conversationId })
          }),
        { cloudEvents: 'structured' },
      )
      const body = encodeCloudEvent({
        attributes: { specversion: '1.0', id: 'foreign', type: Placed.type, source: '/elsewhere' },
        contentType: 'application/json',
        body: Buffer.from('{"id":"f"}'),
      })
      await bus.sendRaw({ queue }, { id: 'foreign', body, contentType: 'application/cloudevents+json; charset=utf-8' })
      const own = await bus.publish(Placed, { id: 'o' })
      const all = (await seen.exactly(2)).toSorted((a, b) => a.order.localeCompare(b.order))
      assert.deepEqual(all[0], { id: 'foreign', order: 'f', source: '/elsewhere', conversation: 'foreign' })
      assert.deepEqual(all[1], { id: own, order: 'o', source: '/suite', conversation: own })
    },
  },
  {
    name: 'C5 the codec is chosen by content type; an unknown type is undecodable',
    run: async world => {
      const Blob = defineCommand<Uint8Array>(world.name('blob'), { codec: bytes })
      const queue = world.name('q')
      const seen = world.seen<string>()
      const bus = await world.started(
        bus => void bus.queue(queue).handle(Blob, one => seen.add(Buffer.from(one).toString('hex'))),
      )
      await bus.send(Blob, new Uint8Array([0, 255]))
      await bus.sendRaw({ queue }, { type: Blob.type, contentType: 'text/strange', body: Buffer.from('?') })
      assert.deepEqual(await seen.exactly(1), ['00ff'])
      const [letter] = await world.deadLetters(bus, queue, 1)
      assert.deepEqual([letter?.reason, letter?.error?.code], ['undecodable', 'BUZZER_UNDECODABLE'])
    },
  },
  {
    name: 'C6 encrypted codec → opaque in storage, round-trips, old key ids are still read',
    run: async world => {
      const keys: Record<string, Uint8Array> = { old: new Uint8Array(32).fill(1), new: new Uint8Array(32).fill(2) }
      const key = (id: string): Uint8Array | undefined => keys[id]
      const name = world.name('secret')
      const queue = world.name('q')
      const Old = defineCommand<Order>(name, { codec: encrypted(json, { keyId: 'old', key }) })
      const New = defineCommand<Order>(name, { codec: encrypted(json, { keyId: 'new', key }) })
      const seen = world.seen<string>()
      const bus = await world.started(bus => {
        bus.queue(queue, once).handle(New, (order, ctx) => {
          assert.ok(!Buffer.from(ctx.body).includes(order.id))
          seen.add(order.id)
        })
      })
      await bus.send(Old, { id: 'with-the-old-key' }, { to: queue })
      await bus.send(New, { id: 'with-the-new-key' })
      assert.deepEqual((await seen.exactly(2)).toSorted(), ['with-the-new-key', 'with-the-old-key'])
    },
  },
  {
    name: 'C7 empty body, null, lone surrogate, no JSON, the largest body → handler or dead letter, never a crash',
    run: async world => {
      const Any = defineCommand<unknown>(world.name('any'))
      const queue = world.name('q')
      const seen = world.seen<unknown>()
      const bus = await world.started(bus => void bus.queue(queue).handle(Any, one => seen.add(one)))
      const type = Any.type
      const contentType = 'application/json'
      await bus.sendRaw({ queue }, { type, contentType, body: new Uint8Array(0) })
      await bus.sendRaw({ queue }, { type, contentType, body: Buffer.from('{') })
      await bus.sendRaw({ queue }, { type, contentType, body: new Uint8Array([0x22, 0xed, 0xa0, 0x80, 0x22]) })
      await bus.send(Any, null)
      await bus.send(Any, '\ud800')
      const max = Math.min(world.capabilities.maxMessageBytes, 1024 * 1024)
      await bus.send(Any, 'x'.repeat(max - 2_048))
      await world.rejects(bus.send(Any, 'x'.repeat(world.capabilities.maxMessageBytes + 1)), 'BUZZER_MESSAGE_TOO_LARGE')
      await seen.exactly(3)
      const letters = await world.deadLetters(bus, queue, 3)
      assert.ok(letters.every(letter => letter.reason === 'undecodable' && letter.attempts === 0))
    },
  },
  {
    name: 'C8 schema default and transform are applied once, at the receiver; a refused value rejects at the call',
    run: async world => {
      const Placed = defineEvent(world.name('placed'), counting)
      const queue = world.name('q')
      const seen = world.seen<{ id: string; tag: string }>()
      const bus = await world.started(bus => void bus.queue(queue).handle(Placed, one => seen.add(one)))
      await bus.publish(Placed, { id: 'a' })
      assert.deepEqual(await seen.exactly(1), [{ id: 'a!', tag: 'none' }])
      const error = await world.rejects(bus.publish(Placed, { id: 1 as unknown as string }), 'BUZZER_INVALID_MESSAGE')
      assert.deepEqual(error.details['issues'], [{ message: 'id is not text', path: 'id' }])
      await bus.sendRaw(
        { queue },
        { type: Placed.type, contentType: 'application/json', body: Buffer.from('{"id":7}') },
      )
      const [letter] = await world.deadLetters(bus, queue, 1)
      assert.deepEqual(
        [letter?.reason, letter?.error?.code, letter?.attempts],
        ['invalid', 'BUZZER_INVALID_MESSAGE', 0],
      )
      assert.equal(Buffer.from(letter?.body ?? []).toString(), '{"id":7}')
    },
  },
  {
    name: 'C8 propagateHeaders → exactly these are copied; key, priority, TTL and other headers are not inherited',
    run: async world => {
      const First = defineEvent<Order>(world.name('first'))
      const Second = defineEvent<Order>(world.name('second'))
      const seen = world.seen<{ headers: object; key: string | undefined; expires: boolean }>()
      const bus = await world.started(
        bus => {
          bus.queue(world.name('q')).handle(First, (_, ctx) => ctx.publish(Second, { id: '2' }).then(() => {}))
          bus.queue(world.name('q')).handle(Second, (_, ctx) => {
            seen.add({ headers: { ...ctx.headers }, key: ctx.key, expires: ctx.expiresAt !== undefined })
          })
        },
        { propagateHeaders: ['tenant'] },
      )
      await bus.publish(First, { id: '1' }, { headers: { tenant: 'a', other: 'b' }, key: 'k', ttlMs: 60_000 })
      assert.deepEqual(await seen.exactly(1), [{ headers: { tenant: 'a' }, key: undefined, expires: false }])
    },
  },
  {
    name: 'C9 a version 2 handler with upcast takes both versions; a version 1 handler sees only version 1',
    run: async world => {
      const name = world.name('order')
      const V1 = defineEvent<{ id: number }>(name)
      const V2 = defineEvent<{ key: string }>(name, {
        version: 2,
        upcast: [upcast(V1, old => ({ key: `#${old.id}` }))],
      })
      const [old, both] = [world.seen<number>(), world.seen<string>()]
      const bus = await world.started(bus => {
        bus.queue(world.name('old')).handle(V1, one => old.add(one.id))
        bus.queue(world.name('new')).handle(V2, one => both.add(one.key))
      })
      await bus.publish(V1, { id: 1 })
      await bus.publish(V2, { key: 'two' })
      assert.deepEqual((await both.exactly(2)).toSorted(), ['#1', 'two'])
      assert.deepEqual(await old.exactly(1), [1])
    },
  },
  {
    name: 'wrong kinds from JavaScript → BUZZER_WRONG_KIND; reserved headers and bad options → BUZZER_INVALID_OPTION',
    run: async world => {
      const Placed = defineEvent<Order>(world.name('placed'))
      const Ship = defineCommand<Order>(world.name('ship'))
      const bus = await world.started(() => {})
      await world.rejects(bus.publish(Ship as never, { id: '1' } as never), 'BUZZER_WRONG_KIND')
      await world.rejects(bus.send(Placed as never, { id: '1' } as never), 'BUZZER_WRONG_KIND')
      await world.rejects(bus.publish(Placed, { id: '1' }, { headers: { 'buzzer-x': '1' } }), 'BUZZER_INVALID_OPTION')
      await world.rejects(bus.publish(Placed, { id: '1' }, { priority: 10 }), 'BUZZER_INVALID_OPTION')
      await world.rejects(
        bus.publish(Placed, { id: '1' }, { delayMs: 1, deliverAt: new Date() }),
        'BUZZER_INVALID_OPTION',
      )
      await world.rejects(bus.publish(Placed, { id: '1' }, { nonsense: 1 } as never), 'BUZZER_INVALID_OPTION')
      await world.rejects(bus.publish(Placed, 10n as never), 'BUZZER_INVALID_MESSAGE')
    },
  },
]
