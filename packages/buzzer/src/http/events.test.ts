import { createParser } from 'eventsource-parser'
import { describe, expect, it } from 'vitest'
import { ask, gate, gatewayOf, type World, world } from '../../test/http/world.ts'
import { defineCommand } from '../index.ts'
import type { Gateway } from './index.ts'

const Work = defineCommand<{ n: number }>('jobs.work')

interface Event {
  readonly id: string | undefined
  readonly event: string | undefined
  readonly data: Record<string, unknown>
}

function parse(text: string): Event[] {
  const events: Event[] = []
  const parser = createParser({
    onEvent: ({ id, event, data }) => events.push({ id, event, data: JSON.parse(data) as Record<string, unknown> }),
  })
  parser.feed(text)
  return events
}

/** Reads a stream piece by piece. */
async function open(
  gateway: Gateway,
  path: string,
  headers: Record<string, string> = {},
): Promise<{
  status: number
  headers: Headers
  text(): string
  ended: Promise<'closed' | 'broken'>
  leave(): Promise<void>
}> {
  const response = await gateway.fetch(new Request(`http://gateway.test${path}`, { headers }))
  let text = ''
  const decoder = new TextDecoder()
  const reader = response.body?.getReader()
  const ended = (async () => {
    for (;;) {
      const next = await reader?.read()
      if (next === undefined || next.done) return 'closed' as const
      text += decoder.decode(next.value, { stream: true })
    }
  })().catch(() => 'broken' as const)
  return {
    status: response.status,
    headers: response.headers,
    text: () => text,
    ended,
    leave: async () => reader?.cancel(),
  }
}

async function working(
  w: World,
  options: Parameters<typeof gatewayOf>[1] = {},
): Promise<{
  gateway: Gateway
  path: string
  report(percent: number): Promise<void>
  finish(): void
}> {
  const end = gate()
  let report: (percent: number) => Promise<void> = () => Promise.resolve()
  w.bus.queue('work').handle(Work, async (_, ctx) => {
    report = percent => ctx.progress(percent)
    await end.opened
    return 'ok'
  })
  const gateway = gatewayOf(w.bus, options).accept('POST', '/work', Work)
  await w.bus.start()
  const { headers } = await ask(gateway, 'POST', '/work', { body: { n: 1 } })
  await w.settle()
  return {
    gateway,
    path: headers.get('location') as string,
    report: percent => report(percent),
    finish: () => end.open(),
  }
}

describe('the event stream', () => {
  it('HT-41 begins with retry, replays what was, goes on live and ends after done', async () => {
    await using w = world()
    const { gateway, path, report, finish } = await working(w)
    const stream = await open(gateway, `${path}/events`)
    expect(stream.status).toBe(200)
    expect(Object.fromEntries(stream.headers)).toMatchObject({
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
    })
    await w.settle()
    expect(stream.text().startsWith('retry: 3000\n')).toBe(true)
    await report(40)
    finish()
    expect(await stream.ended).toBe('closed')
    const events = parse(stream.text())
    expect(events.map(({ id, event, data }) => [id, event, data['status'], data['version']])).toEqual([
      ['1', 'status', 'accepted', 1],
      ['2', 'status', 'running', 2],
      ['3', 'progress', 'running', 3],
      ['4', 'done', 'succeeded', 4],
    ])
    expect(events[3]?.data).toMatchObject({ result: 'ok', progress: { percent: 40 }, links: { self: path } })
    expect(events[0]?.data).not.toHaveProperty('result')
  })

  it('HT-44 resumes after Last-Event-ID or ?after=, without gap or repetition; nonsense counts as none', async () => {
    await using w = world()
    const { gateway, path, finish } = await working(w)
    finish()
    await w.settle()
    const ids = async (headers: Record<string, string>, query = ''): Promise<(string | undefined)[]> =>
      parse((await ask(gateway, 'GET', `${path}/events${query}`, { headers })).text).map(({ id }) => id)
    expect(await ids({})).toEqual(['1', '2', '3'])
    expect(await ids({ 'last-event-id': '1' })).toEqual(['2', '3'])
    expect(await ids({}, '?after=2')).toEqual(['3'])
    for (const nonsense of ['-1', '1.5', 'x', '4', '99999999999999999999', '']) {
      expect(await ids({ 'last-event-id': nonsense }), nonsense).toEqual(['1', '2', '3'])
    }
  })

  it('a reconnect that has seen the end gets 204, which stops EventSource', async () => {
    await using w = world()
    const { gateway, path, finish } = await working(w)
    finish()
    await w.settle()
    const answer = await ask(gateway, 'GET', `${path}/events`, { headers: { 'last-event-id': '3' } })
    expect([answer.status, answer.text]).toEqual([204, ''])
  })

  it('HT-43 Accept: text/event-stream on the resource is the stream', async () => {
    await using w = world()
    const { gateway, path, finish } = await working(w)
    finish()
    await w.settle()
    const stream = await ask(gateway, 'GET', path, { headers: { accept: 'text/event-stream' } })
    expect(stream.headers.get('content-type')).toBe('text/event-stream')
    const json = await ask(gateway, 'GET', path, { headers: { accept: 'application/json, text/event-stream;q=0' } })
    expect(json.headers.get('content-type')).toBe('application/json')
  })

  it('HT-41 sends a comment as heartbeat, and ends after maxAgeMs', async () => {
    await using w = world()
    const { gateway, path, finish } = await working(w, { events: { heartbeatMs: 1_000, maxAgeMs: 3_500 } })
    const stream = await open(gateway, `${path}/events`)
    await w.settle()
    await w.advance(3_100)
    expect(stream.text().match(/^:$/gm)).toHaveLength(3)
    await w.advance(400)
    expect(await stream.ended).toBe('closed')
    finish()
  })

  it('HT-45 one stream for many operations, resumed by its vector', async () => {
    await using w = world()
    const { gateway, path, finish } = await working(w)
    finish()
    await w.settle()
    const second = (await ask(gateway, 'POST', '/work', { body: { n: 2 } })).headers.get('location') as string
    await w.settle()
    const [a, b] = [path, second].map(one => one.split('/').at(-1) as string)
    const query = `/operations/events?id=${a}&id=${b}`
    const all = parse((await ask(gateway, 'GET', query)).text)
    expect(all).toHaveLength(6)
    expect(all.at(-1)?.id).toBe('3.3')
    const per = (id: string | undefined): unknown[] =>
      all.filter(({ data }) => data['id'] === id).map(({ data }) => data['version'])
    expect([per(a), per(b)]).toEqual([
      [1, 2, 3],
      [1, 2, 3],
    ])
    const rest = parse((await ask(gateway, 'GET', query, { headers: { 'last-event-id': '2.3' } })).text)
    expect(rest.map(({ id, data }) => [id, data['id']])).toEqual([['3.3', a]])
    expect((await ask(gateway, 'GET', query, { headers: { 'last-event-id': '3.3' } })).status).toBe(204)
    expect((await ask(gateway, 'GET', '/operations/events')).status).toBe(422)
    const many = Array.from({ length: 51 }, () => `id=${a}`).join('&')
    expect((await ask(gateway, 'GET', `/operations/events?${many}`)).status).toBe(422)
    expect(
      (await ask(gateway, 'GET', `/operations/events?id=${a}&id=01a20947-6d1c-7a52-9f3e-6f0f4be8a111`)).status,
    ).toBe(404)
  })

  it('HT-46 over the limits 503 with Retry-After; a reader that leaves frees its place', async () => {
    await using w = world()
    const { gateway, path, finish } = await working(w, { events: { maxStreams: 2 } })
    const [first, second] = [await open(gateway, `${path}/events`), await open(gateway, `${path}/events`)]
    const refused = await ask(gateway, 'GET', `${path}/events`)
    expect([refused.status, refused.body['code']]).toEqual([503, 'BUZZER_TOO_MANY_STREAMS'])
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    await first.leave()
    const third = await open(gateway, `${path}/events`)
    expect(third.status).toBe(200)
    finish()
    expect(await Promise.all([second.ended, third.ended])).toEqual(['closed', 'closed'])
    expect((await open(gateway, `${path}/events`)).status).toBe(200)
  })

  it('HT-46 per principal', async () => {
    await using w = world()
    const { gateway, path, finish } = await working(w, {
      authenticate: () => ({ id: 'ann' }),
      events: { maxStreamsPerPrincipal: 1 },
    })
    await open(gateway, `${path}/events`)
    expect((await ask(gateway, 'GET', `${path}/events`)).status).toBe(503)
    finish()
  })

  it('HT-47 a reader that stops reading is cut at the bound', async () => {
    await using w = world()
    const { gateway, path, report, finish } = await working(w, {
      events: { maxBufferedBytes: 4_000 },
      operations: { volatile: true, progressIntervalMs: 0 },
    })
    const response = await gateway.fetch(new Request(`http://gateway.test${path}/events`))
    await w.settle()
    for (let percent = 0; percent < 50; percent++) {
      await report(percent)
      await w.advance(1)
    }
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    let bytes = 0
    const read = async (): Promise<string> => {
      for (;;) {
        const next = await reader.read()
        if (next.done) return 'closed'
        bytes += next.value.byteLength
      }
    }
    expect(await read().catch(() => 'cut')).toBe('cut')
    expect(bytes).toBeLessThanOrEqual(4_000)
    finish()
  })

  it('a slow reader of a long replay is waited for, not cut', async () => {
    await using w = world()
    const { gateway, path, report, finish } = await working(w, {
      events: { maxBufferedBytes: 1_000 },
      operations: { volatile: true, progressIntervalMs: 0 },
    })
    for (let percent = 0; percent < 50; percent++) {
      await report(percent)
      await w.advance(1)
    }
    finish()
    await w.settle()
    const response = await gateway.fetch(new Request(`http://gateway.test${path}/events`))
    await w.settle()
    expect(parse(await response.text())).toHaveLength(53)
  })

  it('HT-48 closing the gateway ends streams with a retry line', async () => {
    await using w = world()
    const { gateway, path, finish } = await working(w)
    const stream = await open(gateway, `${path}/events`)
    await w.settle()
    await gateway.close()
    expect(await stream.ended).toBe('closed')
    expect(stream.text().endsWith('retry: 3000\n\n')).toBe(true)
    finish()
  })
})
