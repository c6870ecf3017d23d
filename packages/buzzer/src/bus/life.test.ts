import { describe, expect, test } from 'vitest'
import { BuzzerError, defineCommand, defineEvent, silentLogger } from '../message/index.ts'
import { createHarness, faulty, virtualClock } from '../testing/index.ts'
import { memory, memoryBroker } from '../transport/transports/memory.ts'
import { createBus } from './index.ts'

const Do = defineCommand<{ n: number }>('work.do')
const Said = defineEvent<{ n: number }>('work.said')

function memoryThatFailsToConnect(times: number, error: BuzzerError): ReturnType<typeof memory> {
  const transport = memory()
  let left = times
  return Object.assign(Object.create(transport) as typeof transport, {
    connect: (context: Parameters<typeof transport.connect>[0]) =>
      left-- > 0 ? Promise.reject(error) : transport.connect(context),
  })
}

describe('start', () => {
  test('L2 a broker that is away is waited for, with growing pauses', async () => {
    const clock = virtualClock()
    const transport = memoryThatFailsToConnect(3, new BuzzerError('BUZZER_DISCONNECTED', 'away'))
    const bus = createBus({ name: 'late', transport, clock, logger: silentLogger, random: () => 0 })
    let started = false
    const starting = bus.start().then(() => {
      started = true
    })
    await clock.advance(699)
    expect(started).toBe(false)
    await clock.advance(1)
    await starting
    await bus.stop()
  })

  test('L2 an error that is not retryable rejects at once; an aborted wait rejects with BUZZER_ABORTED', async () => {
    const refused = new BuzzerError('BUZZER_BAD_CREDENTIALS', 'no', { retryable: false })
    const bus = createBus({ name: 'refused', transport: memoryThatFailsToConnect(9, refused), logger: silentLogger })
    await expect(bus.start()).rejects.toThrow('no')
    const away = new BuzzerError('BUZZER_DISCONNECTED', 'away')
    const waiting = createBus({ name: 'waiting', transport: memoryThatFailsToConnect(99, away), logger: silentLogger })
    const controller = new AbortController()
    const starting = waiting.start({ signal: controller.signal })
    setImmediate(() => controller.abort())
    await expect(starting).rejects.toMatchObject({ code: 'BUZZER_ABORTED' })
  })

  test('R12 what the transport cannot do is refused by name, with the nearest alternative', async () => {
    const transport = faulty(memory(), { capabilities: { ordering: 'queue' } })
    const bus = createBus({ name: 'weak', transport, logger: silentLogger })
    bus.queue('q', { orderBy: 'key' }).handle(Do, () => {})
    await expect(bus.start()).rejects.toMatchObject({
      code: 'BUZZER_UNSUPPORTED',
      message: expect.stringMatching(
        /queue q: transport memory has no order by key; nearest alternative: orderBy 'queue'/,
      ),
    })
  })

  test('a misspelt option is refused, not ignored', () => {
    expect(() => createBus({ name: 'x', transport: memory(), timeout: 1 } as never)).toThrow(/no option "timeout"/)
    const bus = createBus({ name: 'x', transport: memory() })
    expect(() => bus.queue('q', { concurency: 1 } as never)).toThrow(/no option "concurency"/)
    expect(() => bus.queue('q', { orderBy: 'queue', concurrency: 2 })).toThrow(/always 1/)
  })
})

describe('a connection that comes back', () => {
  test('L2 sends wait while it is gone and are stored in their order; what was open comes again', async () => {
    const transport = faulty(memory())
    const said: number[] = []
    await using harness = await createHarness({
      transport,
      configure: bus => {
        bus.queue('said', { orderBy: 'queue' }).handle(Said, one => {
          said.push(one.n)
        })
      },
    })
    transport.inject.disconnect(2_000)
    const sends = [1, 2, 3].map(n => harness.bus.publish(Said, { n }))
    expect((await harness.bus.health()).status).toBe('degraded')
    await harness.advance(1_000)
    expect(said).toEqual([])
    await harness.advance(2_000)
    await Promise.all(sends)
    expect(said).toEqual([1, 2, 3])
    expect((await harness.bus.health()).status).toBe('healthy')
  })

  test('a send that is not confirmed within sendTimeoutMs rejects with BUZZER_SEND_TIMEOUT', async () => {
    const transport = faulty(memory())
    await using harness = await createHarness({ transport, sendTimeoutMs: 3_000, configure: () => {} })
    transport.inject.disconnect(60_000)
    const sending = expect(harness.bus.publish(Said, { n: 1 })).rejects.toMatchObject({
      code: 'BUZZER_SEND_TIMEOUT',
      retryable: true,
    })
    await harness.advance(2_999)
    await harness.advance(200)
    await sending
    await harness.advance(60_000)
  })
})

describe('stop', () => {
  test('L4 a handler that ignores its signal is abandoned 5 s after the time limit, and its message is back uncounted', async () => {
    const broker = memoryBroker()
    const clock = virtualClock()
    const bus = createBus({ name: 'first', transport: memory({ broker }), clock, logger: silentLogger })
    const begun = Promise.withResolvers<void>()
    bus.queue('q').handle(Do, () => {
      begun.resolve()
      return new Promise(() => {})
    })
    await bus.start()
    await bus.send(Do, { n: 1 })
    await clock.advance(0)
    await begun.promise
    let stopped = false
    const stopping = bus.stop({ timeoutMs: 1_000 }).then(() => {
      stopped = true
    })
    await clock.advance(5_999)
    expect(stopped).toBe(false)
    await clock.advance(1)
    await stopping
    const next = createBus({ name: 'next', transport: memory({ broker }), clock, logger: silentLogger })
    const attempt = Promise.withResolvers<number>()
    next.queue('q').handle(Do, (_, ctx) => attempt.resolve(ctx.attempt))
    await next.start()
    await clock.advance(0)
    expect(await attempt.promise).toBe(1)
    await next.stop()
  })
})
