import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { gate, operationsOf, world } from '../../test/http/world.ts'
import { DeadLetterError, defineCommand, defineEvent, hasCode } from '../index.ts'
import { memory } from '../transport/transports/memory.ts'
import { faultyStoreMemory } from '../../test/http/faulty-memory.ts'
import { createOperations, type OperationEvent } from './index.ts'

const Work = defineCommand<{ n: number }>('jobs.work')
const Shipped = defineEvent<{ tracking: string }>('jobs.shipped')
const Rejected = defineEvent<{ why: string }>('jobs.rejected')

async function collect(events: AsyncIterable<OperationEvent>): Promise<OperationEvent[]> {
  const all: OperationEvent[] = []
  for await (const event of events) all.push(event)
  return all
}

const codeOf = async (run: Promise<unknown>): Promise<unknown> =>
  run.then(
    () => 'resolved',
    (error: unknown) => (error as { code?: unknown }).code,
  )

describe('submitting', () => {
  it('OP-1 resolves when operation, command and key are stored, and stores none of them when the commit fails', async () => {
    const transport = faultyStoreMemory()
    await using w = world({ transport })
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const ticket = await operations.submit(Work, { n: 1 }, { to: 'work', idempotencyKey: 'k' })
    expect(ticket).toMatchObject({
      replayed: false,
      operation: { status: 'accepted', version: 1, attempt: 0, done: false },
    })
    expect(await operations.get(ticket.id)).toEqual(ticket.operation)
    expect(await w.messages('work')).toBe(1)

    transport.failNextSend()
    expect(await codeOf(operations.submit(Work, { n: 2 }, { to: 'work', idempotencyKey: 'k2' }))).toBe(
      'BUZZER_SEND_FAILED',
    )
    expect((await operations.list()).items).toHaveLength(1)
    expect(await w.messages('work')).toBe(1)
    expect((await operations.submit(Work, { n: 2 }, { to: 'work', idempotencyKey: 'k2' })).replayed).toBe(false)
  })

  it('OP-1 the id is the message id of the command and the conversation of what follows', async () => {
    await using w = world()
    const seen: string[] = []
    w.bus.queue('work').handle(Work, async (_, ctx) => {
      seen.push(ctx.id, ctx.conversationId)
      await ctx.publish(Shipped, { tracking: 'x' })
    })
    w.bus.queue('mail').handle(Shipped, (_, ctx) => void seen.push(ctx.conversationId))
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const { id } = await operations.submit(Work, { n: 1 })
    await w.settle()
    expect(seen).toEqual([id, id, id])
  })

  it('a repeat with the key answers with the first operation, another payload is refused', async () => {
    await using w = world()
    let runs = 0
    w.bus.queue('work').handle(Work, () => void runs++)
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const first = await operations.submit(Work, { n: 1 }, { idempotencyKey: 'k', owner: 'ann' })
    const again = await operations.submit(Work, { n: 1 }, { idempotencyKey: 'k', owner: 'ann' })
    expect([again.id, again.replayed]).toEqual([first.id, true])
    expect((await operations.submit(Work, { n: 1 }, { idempotencyKey: 'k', owner: 'bob' })).replayed).toBe(false)
    expect(await codeOf(operations.submit(Work, { n: 2 }, { idempotencyKey: 'k', owner: 'ann' }))).toBe(
      'BUZZER_IDEMPOTENCY_KEY_REUSED',
    )
    const racing = await Promise.all(
      Array.from({ length: 20 }, () => operations.submit(Work, { n: 3 }, { idempotencyKey: 'race' })),
    )
    expect(new Set(racing.map(ticket => ticket.id)).size).toBe(1)
    expect(racing.filter(ticket => !ticket.replayed)).toHaveLength(1)
    await w.settle()
    expect(runs).toBe(3)
  })

  it('refuses what is no command, what the schema refuses, and options it does not have', async () => {
    await using w = world()
    const Strict = defineCommand('jobs.strict', z.object({ n: z.number() }))
    w.bus.queue('work').handle(Strict, () => {})
    const operations = operationsOf(w.bus)
    await w.bus.start()
    expect(await codeOf(operations.submit(Shipped as never, {} as never))).toBe('BUZZER_WRONG_KIND')
    expect(await codeOf(operations.submit(Strict, { n: 'x' } as never))).toBe('BUZZER_INVALID_MESSAGE')
    expect(await codeOf(operations.submit(Strict, { n: 1 }, { callbackUrl: 'https://x' }))).toBe('BUZZER_UNSUPPORTED')
    expect(await codeOf(operations.submit(Strict, { n: 1 }, { nonsense: 1 } as never))).toBe('BUZZER_INVALID_OPTION')
    expect(await codeOf(operations.submit(Work, { n: 1 }))).toBe('BUZZER_UNROUTABLE')
    expect((await operations.list()).items).toEqual([])
  })

  it('needs a durable store, unless asked for less', async () => {
    await using w = world()
    let thrown: unknown
    try {
      createOperations({ bus: w.bus })
    } catch (error) {
      thrown = error
    }
    expect(hasCode(thrown, 'BUZZER_STORE_NOT_DURABLE')).toBe(true)
    expect(String(thrown)).toContain('volatile: true')
    await w.bus.start()
  })
})

describe('the handler and its operation', () => {
  it("OP-2 the handler's return value is the result; undefined leaves it out", async () => {
    await using w = world()
    w.bus.queue('work').handle(Work, ({ n }) => (n === 0 ? undefined : { doubled: n * 2 }))
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const [none, some] = await Promise.all([operations.submit(Work, { n: 0 }), operations.submit(Work, { n: 4 })])
    await w.settle()
    expect(await operations.get(none.id)).toMatchObject({ status: 'succeeded', done: true, version: 3 })
    expect(await operations.get(none.id)).not.toHaveProperty('result')
    expect(await operations.get(some.id)).toMatchObject({ status: 'succeeded', result: { doubled: 8 } })
  })

  it('OP-3 running and attempt are visible while the handler runs', async () => {
    await using w = world()
    const { opened, open } = gate()
    w.bus.queue('work').handle(Work, () => opened)
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const { id } = await operations.submit(Work, { n: 1 })
    await w.settle()
    expect(await operations.get(id)).toMatchObject({ status: 'running', attempt: 1, version: 2, done: false })
    open()
    await w.settle()
    expect(await operations.get(id)).toMatchObject({ status: 'succeeded' })
  })

  it('OP-4 OP-5 immediate retries stay running, a delayed one is retrying, each start is counted', async () => {
    await using w = world()
    const seen: unknown[] = []
    const operations = operationsOf(w.bus)
    w.bus.queue('work', { retry: { immediate: 1, delayedMs: [10_000], jitter: 0 } }).handle(Work, async (_, ctx) => {
      const now = await operations.get(ctx.id)
      seen.push([now?.status, now?.attempt])
      if (ctx.attempt < 4) throw new Error('not yet')
      return 'done'
    })
    await w.bus.start()
    const { id } = await operations.submit(Work, { n: 1 })
    await w.settle()
    expect(await operations.get(id)).toMatchObject({ status: 'retrying', attempt: 2 })
    await w.advance(9_999)
    expect(seen).toHaveLength(2)
    await w.advance(2)
    expect(seen).toEqual([1, 2, 3, 4].map(attempt => ['running', attempt]))
    expect(await operations.get(id)).toMatchObject({ status: 'succeeded', attempt: 4, result: 'done' })
    const events = await collect(operations.follow(id))
    expect(events.map(event => event.operation.status)).toEqual([
      'accepted',
      'running',
      'running',
      'retrying',
      'running',
      'running',
      'succeeded',
    ])
    expect(events.map(event => event.version)).toEqual([1, 2, 3, 4, 5, 6, 7])
  })

  it("OP-6 retry 'none' fails at the first error, and says nothing of it", async () => {
    await using w = world()
    w.bus.queue('work', { retry: 'none' }).handle(Work, () => {
      throw new Error('password is hunter2')
    })
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const { id } = await operations.submit(Work, { n: 1 })
    await w.settle()
    const failed = await operations.get(id)
    expect(failed).toMatchObject({
      status: 'failed',
      done: true,
      error: { code: 'BUZZER_OPERATION_FAILED', attempts: 1 },
    })
    expect(JSON.stringify(failed)).not.toContain('hunter2')
    expect(await w.dead('work')).toBe(1)
  })

  it('the reason of a DeadLetterError is the detail, also of one that is a cause', async () => {
    await using w = world()
    w.bus.queue('work', { retry: 'none' }).handle(Work, ({ n }) => {
      const error = new DeadLetterError('no such customer')
      throw n === 0 ? error : new Error('wrapped secret', { cause: error })
    })
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const [plain, wrapped] = await Promise.all([operations.submit(Work, { n: 0 }), operations.submit(Work, { n: 1 })])
    await w.settle()
    for (const { id } of [plain, wrapped]) {
      expect((await operations.get(id))?.error?.detail).toBe('no such customer')
    }
  })

  it('OP-7 a command its worker no longer understands ends failed, not stuck', async () => {
    await using w = world()
    const Today = defineCommand('jobs.changed', z.object({ n: z.string() }))
    const Yesterday = defineCommand<{ n: number }>('jobs.changed')
    let runs = 0
    w.bus.queue('work').handle(Today, () => void runs++)
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const { id } = await operations.submit(Yesterday, { n: 1 }, { to: 'work' })
    await w.settle()
    expect(await operations.get(id)).toMatchObject({ status: 'failed', attempt: 0 })
    expect(runs).toBe(0)
  })

  it('OP-8 redriving the dead letter reopens the operation, which then succeeds', async () => {
    await using w = world()
    let isFixed = false
    w.bus.queue('work', { retry: 'none' }).handle(Work, () => {
      if (!isFixed) throw new Error('broken')
      return 'fixed'
    })
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const { id } = await operations.submit(Work, { n: 1 })
    await w.settle()
    expect(await operations.get(id)).toMatchObject({ status: 'failed', version: 3 })
    isFixed = true
    expect((await w.bus.admin.deadLetters('work').redrive('all')).redriven).toBe(1)
    await w.settle()
    const done = await operations.get(id)
    expect(done).toMatchObject({ status: 'succeeded', result: 'fixed', attempt: 2, version: 6 })
    expect(done).not.toHaveProperty('error')
    expect((await collect(operations.follow(id))).map(event => event.operation.status)).toEqual([
      'accepted',
      'running',
      'failed',
      'accepted',
      'running',
      'succeeded',
    ])
  })

  it('OP-9 late finish, progress and cancel change nothing', async () => {
    await using w = world()
    w.bus.queue('work').handle(Work, () => 1)
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const { id } = await operations.submit(Work, { n: 1 })
    await w.settle()
    const done = await operations.get(id)
    await operations.progress(id, 99)
    await w.advance(1_000)
    expect(await codeOf(operations.finish(id, { result: 2 }))).toBe('BUZZER_OPERATION_DONE')
    expect(await codeOf(operations.finish(id, { result: 1 }))).toBe('resolved')
    expect(await codeOf(operations.cancel(id))).toBe('BUZZER_OPERATION_DONE')
    expect(await operations.get(id)).toEqual(done)
  })

  it('OP-18 a result too large or not JSON does not fail finished work', async () => {
    await using w = world()
    w.bus.queue('work').handle(Work, ({ n }) => (n === 0 ? 'x'.repeat(65_535) : (10n as never)))
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const [large, odd] = await Promise.all([operations.submit(Work, { n: 0 }), operations.submit(Work, { n: 1 })])
    await w.settle()
    expect(await operations.get(large.id)).toMatchObject({ status: 'succeeded', resultOmitted: 'too-large' })
    expect(await operations.get(odd.id)).toMatchObject({ status: 'succeeded', resultOmitted: 'not-json' })
    expect(w.log.filter(line => line.message.includes('result of an operation is left out'))).toHaveLength(2)
  })

  it('OP-24 messages without the header cost no store access, unless they report progress', async () => {
    const transport = memory()
    let reads = 0
    const store = transport.store as { get: (...given: never[]) => Promise<unknown> }
    const get = store.get.bind(store)
    store.get = (...given) => {
      reads++
      return get(...given)
    }
    await using w = world({ transport })
    w.bus.queue('work').handle(Work, async ({ n }, ctx) => {
      if (n === 1) await ctx.progress(5)
      return 'ignored'
    })
    operationsOf(w.bus)
    await w.bus.start()
    await w.bus.send(Work, { n: 0 })
    await w.settle()
    expect(reads).toBe(0)
    await w.bus.send(Work, { n: 1 })
    await w.settle()
    expect(reads).toBe(1)
  })

  it('OP-25 a duplicate of a handled command changes nothing and runs nothing', async () => {
    await using w = world()
    let runs = 0
    w.bus.queue('work').handle(Work, () => ++runs)
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const { id } = await operations.submit(Work, { n: 1 })
    await w.settle()
    const before = await operations.get(id)
    await w.bus.sendRaw(
      { queue: 'work' },
      { id, type: 'jobs.work', body: new TextEncoder().encode('{"n":1}'), contentType: 'application/json' },
    )
    await w.settle()
    expect(await operations.get(id)).toEqual(before)
  })

  it('a command whose operation is unknown is handled all the same, and that is logged once', async () => {
    await using w = world()
    let runs = 0
    w.bus.queue('work').handle(Work, () => void runs++)
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const { id } = await operations.submit(Work, { n: 1 }, { delayMs: 1_000 })
    const { id: other } = await operations.submit(Work, { n: 2 }, { delayMs: 1_000 })
    const store = w.bus.store as unknown as { commit(changes: unknown[]): Promise<void> }
    for (const gone of [id, other]) {
      await store.commit([{ op: 'delete', collection: 'buzzer.operations', id: gone, expected: 'any' }])
    }
    await w.advance(1_100)
    expect(runs).toBe(2)
    expect(w.log.filter(line => line.fields['code'] === 'BUZZER_OPERATION_UNKNOWN')).toHaveLength(1)
  })
})

describe('expiry and cancelling', () => {
  it('OP-10 not started by expiresAfterMs: expired, and the handler never runs', async () => {
    await using w = world()
    let runs = 0
    const queue = w.bus.queue('work').handle(Work, () => void runs++)
    const operations = operationsOf(w.bus)
    await w.bus.start()
    await queue.pause()
    const { id, operation } = await operations.submit(Work, { n: 1 }, { expiresAfterMs: 5_000 })
    expect(Date.parse(operation.expiresAt ?? '') - Date.parse(operation.createdAt)).toBe(5_000)
    await w.advance(4_900)
    expect(await operations.get(id)).toMatchObject({ status: 'accepted' })
    await w.advance(1_100)
    expect(await operations.get(id)).toMatchObject({ status: 'expired', done: true })
    await queue.resume()
    await w.settle()
    expect(runs).toBe(0)
  })

  it('OP-11 running at expiry finishes; waiting for a retry at expiry is expired', async () => {
    await using w = world()
    const { opened, open } = gate()
    let tries = 0
    w.bus.queue('work', { retry: { immediate: 0, delayedMs: [10_000], jitter: 0 } }).handle(Work, ({ n }) => {
      if (n === 0) return opened.then(() => 'late but done')
      tries++
      throw new Error('again')
    })
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const running = await operations.submit(Work, { n: 0 }, { expiresAfterMs: 5_000 })
    const waiting = await operations.submit(Work, { n: 1 }, { expiresAfterMs: 5_000 })
    await w.advance(6_000)
    expect(await operations.get(running.id)).toMatchObject({ status: 'running' })
    expect(await operations.get(waiting.id)).toMatchObject({ status: 'expired' })
    open()
    await w.advance(20_000)
    expect(await operations.get(running.id)).toMatchObject({ status: 'succeeded', result: 'late but done' })
    expect(tries).toBe(1)
  })

  it('cancelled before it started: the handler never runs', async () => {
    await using w = world()
    let runs = 0
    const queue = w.bus.queue('work').handle(Work, () => void runs++)
    const operations = operationsOf(w.bus)
    await w.bus.start()
    await queue.pause()
    const { id } = await operations.submit(Work, { n: 1 })
    expect(await operations.cancel(id)).toMatchObject({ status: 'cancelled', done: true })
    expect(await operations.cancel(id)).not.toHaveProperty('startedAt')
    await queue.resume()
    await w.settle()
    expect(runs).toBe(0)
    expect(await w.messages('work')).toBe(0)
  })

  it('a running handler is asked; what it throws then is no failure: no retry, no dead letter', async () => {
    await using w = world()
    let runs = 0
    w.bus.queue('work').handle(Work, (_, ctx) => {
      runs++
      return new Promise((_resolve, reject) => {
        ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason as Error))
      })
    })
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const { id } = await operations.submit(Work, { n: 1 })
    await w.settle()
    expect(await operations.cancel(id)).toMatchObject({ cancelRequested: true, done: false })
    await w.settle()
    expect(await operations.get(id)).toMatchObject({ status: 'cancelled', cancelRequested: true, done: true })
    await w.advance(100_000)
    expect(runs).toBe(1)
    expect(await w.messages('work')).toBe(0)
  })
})

describe('what ends an operation', () => {
  it("OP-13 'manual' waits for finish; a second one with the same outcome is harmless, another is refused", async () => {
    await using w = world()
    w.bus.queue('work').handle(Work, () => 'ignored')
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const { id } = await operations.submit(Work, { n: 1 }, { completion: 'manual' })
    await w.settle()
    expect(await operations.get(id)).toMatchObject({ status: 'running' })
    expect(await operations.finish(id, { result: { a: 1, b: 2 } })).toMatchObject({ status: 'succeeded' })
    expect(await operations.finish(id, { result: { b: 2, a: 1 } })).toMatchObject({ result: { a: 1, b: 2 } })
    expect(await codeOf(operations.finish(id, { result: { a: 2 } }))).toBe('BUZZER_OPERATION_DONE')
    expect(await codeOf(operations.finish(id, { problem: { title: 'no' } }))).toBe('BUZZER_OPERATION_DONE')
    const failing = await operations.submit(Work, { n: 2 }, { completion: 'manual' })
    expect(await operations.finish(failing.id, { problem: { title: 'No', code: 'SHOP_NO' } })).toMatchObject({
      status: 'failed',
      error: { type: '/problems/operation-failed', title: 'No', code: 'SHOP_NO' },
    })
    expect(await codeOf(operations.finish(failing.id, { problem: { title: 'No' } }))).toBe('resolved')
    expect(await codeOf(operations.finish('nobody', { result: 1 }))).toBe('BUZZER_OPERATION_UNKNOWN')
  })

  it('OP-14 OP-15 an event of the conversation ends it once, with its result; a foreign one does nothing', async () => {
    await using w = world()
    w.bus.queue('work').handle(Work, async ({ n }, ctx) => {
      if (n < 0) await ctx.publish(Rejected, { why: 'negative' })
      else for (const tracking of ['first', 'second']) await ctx.publish(Shipped, { tracking })
      return 'of the handler'
    })
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const completion = {
      on: Shipped,
      failOn: [Rejected],
      result: (event: { tracking: string }) => ({ tracking: event.tracking }),
      error: (event: { why: string }) => ({ detail: event.why }),
    }
    const held = await operations.submit(Work, { n: 1 }, { completion, delayMs: 60_000 })
    await w.bus.publish(Shipped, { tracking: 'foreign' })
    await w.settle()
    expect(await operations.get(held.id)).toMatchObject({ status: 'accepted', version: 1 })
    const good = await operations.submit(Work, { n: 1 }, { completion })
    const bad = await operations.submit(Work, { n: -1 }, { completion })
    await w.settle()
    expect(await operations.get(good.id)).toMatchObject({ status: 'succeeded', result: { tracking: 'first' } })
    expect((await collect(operations.follow(good.id))).filter(event => event.type === 'done')).toHaveLength(1)
    expect(await operations.get(bad.id)).toMatchObject({ status: 'failed', error: { detail: 'negative' } })
  })

  it('OP-12 withinMs passed without the event: operation-timed-out, and the event that comes later is ignored', async () => {
    await using w = world()
    w.bus.queue('work').handle(Work, () => {})
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const completion = { on: Shipped, withinMs: 60_000 }
    const { id } = await operations.submit(Work, { n: 1 }, { completion })
    await w.advance(59_000)
    expect(await operations.get(id)).toMatchObject({ status: 'running' })
    await w.advance(2_000)
    expect(await operations.get(id)).toMatchObject({
      status: 'failed',
      error: { type: '/problems/operation-timed-out' },
    })
  })
})

describe('progress', () => {
  it('OP-16 1,000 reports in one tick are few events, the last one survives', async () => {
    await using w = world()
    w.bus.queue('work').handle(Work, async (_, ctx) => {
      const reports: Promise<void>[] = []
      for (let done = 1; done <= 1_000; done++) reports.push(ctx.progress({ done, total: 1_000 }))
      await Promise.all(reports)
    })
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const { id } = await operations.submit(Work, { n: 1 })
    await w.settle()
    const events = await collect(operations.follow(id))
    const progress = events.filter(event => event.type === 'progress')
    expect(progress.map(event => event.operation.progress?.percent)).toEqual([0.1, 100])
    expect(events.at(-1)).toMatchObject({ type: 'done', operation: { progress: { done: 1_000, percent: 100 } } })
  })

  it('is recorded at most once per interval, the newest report winning, by any handler of the conversation', async () => {
    await using w = world()
    const { opened, open } = gate()
    let report: (percent: number) => Promise<void> = async () => {}
    w.bus.queue('work').handle(Work, async (_, ctx) => {
      await ctx.publish(Shipped, { tracking: 'x' })
    })
    w.bus.queue('mail').handle(Shipped, async (_, ctx) => {
      report = percent => ctx.progress(percent)
      await opened
    })
    const operations = operationsOf(w.bus, { progressIntervalMs: 1_000 })
    await w.bus.start()
    const { id } = await operations.submit(Work, { n: 1 }, { completion: 'manual' })
    await w.settle()
    for (const percent of [10, 20, 30]) await report(percent)
    expect((await operations.get(id))?.progress?.percent).toBe(10)
    await w.advance(999)
    expect((await operations.get(id))?.progress?.percent).toBe(10)
    await w.advance(1)
    expect((await operations.get(id))?.progress?.percent).toBe(30)
    await report(40)
    await operations.finish(id, {})
    expect(await operations.get(id)).toMatchObject({ status: 'succeeded', progress: { percent: 40 } })
    open()
  })
})

describe('waiting and following', () => {
  it('OP-20 wait resolves at the deadline with the present state, at once when done, and rejects when aborted', async () => {
    await using w = world()
    const { opened, open } = gate()
    w.bus.queue('work').handle(Work, () => opened)
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const { id } = await operations.submit(Work, { n: 1 })
    const waiting = operations.wait(id, { timeoutMs: 3_000 })
    await w.advance(3_000)
    expect(await waiting).toMatchObject({ status: 'running', done: false })
    const abort = new AbortController()
    const aborted = codeOf(operations.wait(id, { timeoutMs: 3_000, signal: abort.signal }))
    await w.settle()
    abort.abort()
    expect(await aborted).toBe('BUZZER_ABORTED')
    const ended = operations.wait(id, { timeoutMs: 3_000 })
    open()
    expect(await ended).toMatchObject({ status: 'succeeded' })
    expect(await operations.wait(id, { timeoutMs: 0 })).toMatchObject({ status: 'succeeded' })
    expect(await codeOf(operations.wait('nobody', { timeoutMs: 1 }))).toBe('BUZZER_OPERATION_UNKNOWN')
  })

  it('OP-21 a follower before, during and after sees the same events', async () => {
    await using w = world()
    const { opened, open } = gate()
    w.bus.queue('work').handle(Work, async (_, ctx) => {
      await ctx.progress(50)
      await opened
      return 'ok'
    })
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const { id } = await operations.submit(Work, { n: 1 }, { delayMs: 1_000 })
    const before = collect(operations.follow(id))
    await w.advance(1_050)
    const during = collect(operations.follow(id))
    const resumed = collect(operations.follow(id, { after: 2 }))
    open()
    await w.settle()
    const after = await collect(operations.follow(id))
    expect(after.map(event => [event.version, event.type])).toEqual([
      [1, 'status'],
      [2, 'status'],
      [3, 'progress'],
      [4, 'done'],
    ])
    expect(await before).toEqual(after)
    expect(await during).toEqual(after)
    expect(await resumed).toEqual(after.slice(2))
  })

  it('OP-22 1,000 followers of one operation cost one subscription and one read per change', async () => {
    const transport = memory()
    const store = transport.store as unknown as Record<string, (...given: never[]) => Promise<AsyncDisposable>>
    const calls = { watch: 0, get: 0 }
    for (const name of ['watch', 'get'] as const) {
      const original = (store[name] as (...given: never[]) => Promise<AsyncDisposable>).bind(store)
      store[name] = (...given) => {
        calls[name]++
        return original(...given)
      }
    }
    await using w = world({ transport })
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const { id } = await operations.submit(Work, { n: 1 }, { to: 'work', completion: 'manual' })
    const followers = Array.from({ length: 1_000 }, () => collect(operations.follow(id)))
    await w.settle()
    expect(calls.watch).toBe(1)
    calls.get = 0
    await operations.finish(id, { result: 1 })
    for (const events of await Promise.all(followers)) expect(events.map(event => event.version)).toEqual([1, 2])
    // The change itself reads once; its notice may read once more.
    expect(calls.get).toBeLessThanOrEqual(2)
  })

  it('OP-23 list pages by owner, newest first, undisturbed by new ones', async () => {
    await using w = world()
    const operations = operationsOf(w.bus)
    await w.bus.start()
    const mine: string[] = []
    for (let n = 0; n < 7; n++) {
      mine.push((await operations.submit(Work, { n }, { to: 'work', owner: 'ann!' })).id)
      await operations.submit(Work, { n }, { to: 'work', owner: 'ann' })
      await w.advance(10)
    }
    const first = await operations.list({ owner: 'ann!', limit: 3 })
    await operations.submit(Work, { n: 99 }, { to: 'work', owner: 'ann!' })
    const second = await operations.list({ owner: 'ann!', limit: 3, cursor: first.cursor as string })
    const third = await operations.list({ owner: 'ann!', limit: 3, cursor: second.cursor as string })
    expect([...first.items, ...second.items, ...third.items].map(operation => operation.id)).toEqual(mine.toReversed())
    expect(third.cursor).toBeUndefined()
    await operations.cancel(mine[2] as string)
    expect((await operations.list({ owner: 'ann!', status: 'cancelled' })).items.map(({ id }) => id)).toEqual([mine[2]])
    expect((await operations.list({ command: 'jobs.other' })).items).toEqual([])
    expect(
      (await operations.list({ createdAfter: new Date(w.time.now() - 5) })).items.map(({ id }) => id),
    ).not.toContain(mine[6])
  })
})

describe('retention', () => {
  it('finished operations are gone after their time, failed ones later, and their records shrink', async () => {
    await using w = world()
    w.bus.queue('work', { retry: 'none' }).handle(Work, ({ n }) => {
      if (n === 1) throw new Error('no')
      return 'x'.repeat(1_000)
    })
    const operations = operationsOf(w.bus, { retention: { succeededMs: 1_000, failedMs: 5_000, tombstoneMs: 10_000 } })
    await w.bus.start()
    const good = await operations.submit(Work, { n: 0 })
    const bad = await operations.submit(Work, { n: 1 })
    await w.advance(900)
    expect(await operations.get(good.id)).toBeDefined()
    await w.advance(200)
    expect(await operations.get(good.id)).toBeUndefined()
    expect(await operations.get(bad.id)).toMatchObject({ status: 'failed' })
    const store = w.bus.store as unknown as {
      get(collection: string, id: string): Promise<{ value: unknown } | undefined>
    }
    expect(JSON.stringify((await store.get('buzzer.operations', good.id))?.value).length).toBeLessThan(1_000)
    await w.advance(5_000)
    expect(await operations.get(bad.id)).toBeUndefined()
    await w.advance(20_000)
    expect(await store.get('buzzer.operations', good.id)).toBeUndefined()
  })
})
