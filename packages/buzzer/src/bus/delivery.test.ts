import { describe, expect, test } from 'vitest'
import { type BuzzerError, defineCommand, defineEvent, defineRequest } from '../message/index.ts'
import { createHarness, faulty } from '../testing/index.ts'
import { memory } from '../transport/transports/memory.ts'
import { faultOf } from './index.ts'

const Do = defineCommand<{ n: number }>('work.do')
const Out = defineEvent<{ n: number }>('work.out')

describe('deliveries that end badly', () => {
  test('F11 a message that is never settled is given up after maxDeliveries, with a fault, without another run', async () => {
    const transport = faulty(memory())
    const faults: string[] = []
    let runs = 0
    await using harness = await createHarness({
      transport,
      configure: bus => {
        bus.queue('q', { retry: { maxDeliveries: 3 } }).handle(Do, () => {
          runs++
        })
        bus.queue('faults').handle(faultOf(Do), fault => {
          faults.push(fault.reason)
        })
      },
    })
    transport.inject.loseSettlement(3)
    await harness.bus.send(Do, { n: 1 })
    await harness.idle()
    expect(runs).toBe(3)
    expect(faults).toEqual(['max-deliveries-exceeded'])
    const [letter] = (await harness.bus.admin.deadLetters('q').list()).items
    expect(letter).toMatchObject({ reason: 'max-deliveries-exceeded', data: { n: 1 } })
  })

  test('F13 a lost lock → BUZZER_LOCK_LOST, nothing leaves, the message comes again', async () => {
    const transport = faulty(memory())
    const reasons: unknown[] = []
    const out: number[] = []
    await using harness = await createHarness({
      transport,
      configure: bus => {
        bus.queue('q').handle(Do, async (_, ctx) => {
          await ctx.publish(Out, { n: ctx.attempt })
          if (ctx.attempt > 1) return
          const aborted = new Promise(resolve => ctx.signal.addEventListener('abort', resolve, { once: true }))
          transport.inject.disconnect(1_000)
          await aborted
          reasons.push((ctx.signal.reason as BuzzerError).code)
        })
        bus.queue('out').handle(Out, one => {
          out.push(one.n)
        })
      },
    })
    await harness.bus.send(Do, { n: 1 })
    await harness.advance(5_000)
    expect(reasons).toEqual(['BUZZER_LOCK_LOST'])
    // The second delivery is attempt 5: the four runs of the first count as used.
    expect(out).toEqual([5])
  })

  test('F10 a fault that cannot be sent → dead letter all the same', async () => {
    const transport = faulty(memory())
    await using harness = await createHarness({
      transport,
      configure: bus => {
        bus.queue('q', { retry: 'none' }).handle(Do, () => {
          throw new Error('broken')
        })
      },
    })
    transport.inject.failSendWhen(message => message.attributes['type'] === faultOf(Do).type)
    await harness.bus.send(Do, { n: 1 })
    await harness.idle()
    expect((await harness.bus.admin.deadLetters('q').list()).items).toHaveLength(1)
  })

  test('a dead letter that cannot be saved is never acknowledged: released, and tried again', async () => {
    const transport = faulty(memory(), { capabilities: { deadLetter: 'none', transactions: 'none' } })
    await using harness = await createHarness({
      transport,
      configure: bus => {
        bus.queue('q', { retry: 'none' }).handle(Do, () => {
          throw new Error('broken')
        })
      },
    })
    let refused = 0
    const allow = transport.inject.failSendWhen(message => {
      const isDead = 'queue' in message.to && message.to.queue === 'q.dead'
      if (isDead && ++refused === 3) allow()
      return isDead
    })
    await harness.bus.send(Do, { n: 1 })
    await harness.idle()
    expect(refused).toBe(3)
    expect((await harness.bus.admin.deadLetters('q').list()).items).toHaveLength(1)
  })
})

describe('requests', () => {
  test('Q4 a late answer is dropped', async () => {
    const Ask = defineRequest<number, number>('asks.slow')
    let release = (): void => {}
    await using harness = await createHarness({
      configure: bus => {
        bus.queue('q').handle(Ask, n => new Promise<number>(resolve => (release = () => resolve(n))))
      },
    })
    const asked = expect(harness.bus.request(Ask, 7, { timeoutMs: 2_000 })).rejects.toMatchObject({
      code: 'BUZZER_REQUEST_TIMEOUT',
    })
    await harness.advance(2_000)
    await asked
    release()
    await harness.idle()
    expect((await harness.bus.health()).status).toBe('healthy')
  })
})

describe('requests of several answers', () => {
  test('Q3 an answer that the responder may not give is a fault that is not retryable', async () => {
    const Ask = defineRequest<number, number>('asks.wrong')
    await using harness = await createHarness({
      configure: bus => {
        bus.queue('q').handle(Ask, () => (() => {}) as never)
      },
    })
    await expect(harness.bus.request(Ask, 1)).rejects.toMatchObject({ code: 'BUZZER_REQUEST_FAULT', retryable: false })
  })
})
