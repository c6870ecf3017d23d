import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { createParser } from 'eventsource-parser'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createBus, defineCommand, silentLogger } from '../../src/index.ts'
import { embedded } from '../../src/broker/index.ts'
import { createGateway } from '../../src/http/index.ts'
import { createOperations } from '../../src/operations/index.ts'
import { Finished, Work } from './contracts.ts'

let folder: string
const children = new Set<ChildProcess>()

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'buzzer-http-'))
})

afterEach(async () => {
  for (const child of children) child.kill('SIGKILL')
  children.clear()
  await rm(folder, { recursive: true, force: true })
})

const file = (): string => join(folder, 'shop.db')

class Child {
  readonly process: ChildProcess
  readonly messages: Record<string, unknown>[] = []

  constructor(script: 'web-process' | 'worker-process', args: readonly string[]) {
    this.process = fork(new URL(`./${script}.ts`, import.meta.url), args, {
      execArgv: ['--conditions=buzzer-source'],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    children.add(this.process)
    this.process.on('message', message => this.messages.push(message as Record<string, unknown>))
  }

  async said(member: string, skip: number = 0): Promise<Record<string, unknown>> {
    for (;;) {
      const found = this.messages.filter(message => member in message)[skip]
      if (found !== undefined) return found
      await once(this.process, 'message')
    }
  }

  async kill(): Promise<void> {
    const gone = once(this.process, 'exit')
    this.process.kill('SIGKILL')
    await gone
    children.delete(this.process)
  }
}

async function web(port: number = 0): Promise<Child & { url: string; port: number }> {
  const child = new Child('web-process', [file(), String(port)])
  const said = await child.said('port')
  return Object.assign(child, { url: `http://127.0.0.1:${String(said['port'])}`, port: said['port'] as number })
}

async function worker(): Promise<Child> {
  const child = new Child('worker-process', [file()])
  await child.said('ready')
  return child
}

function post(url: string, body: object, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${url}/work`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })
}

/** Reads a stream until `enough` events have come, or to its end. */
async function events(
  url: string,
  headers: Record<string, string> = {},
  enough: number = Infinity,
): Promise<[string, string][]> {
  const seen: [string, string][] = []
  const leave = new AbortController()
  const parser = createParser({
    onEvent: ({ id, data }) => seen.push([id ?? '', (JSON.parse(data) as { status: string }).status]),
  })
  const decoder = new TextDecoder()
  try {
    const response = await fetch(url, { headers, signal: leave.signal })
    for await (const chunk of response.body as ReadableStream<Uint8Array>) {
      parser.feed(decoder.decode(chunk, { stream: true }))
      if (seen.length >= enough) break
    }
  } catch {
    // The server died: what was seen was seen.
  }
  leave.abort()
  return seen
}

// Each process takes seconds to start when the machine is busy.
describe('over one embedded file', { timeout: 90_000 }, () => {
  it('what was answered 202 survives SIGKILL of the web process, key and all, and is handled by another process', async () => {
    const first = await web()
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) => post(first.url, { n }, { 'idempotency-key': `k${n}` })),
    )
    expect(answers.map(answer => answer.status)).toEqual(Array<number>(20).fill(202))
    await first.kill()
    const second = await web()
    const paths = answers.map(answer => answer.headers.get('location') as string)
    for (const path of paths) {
      expect(await (await fetch(second.url + path)).json()).toMatchObject({ status: 'accepted' })
    }
    const replay = await post(second.url, { n: 7 }, { 'idempotency-key': 'k7' })
    expect([replay.headers.get('location'), replay.headers.get('idempotency-replayed')]).toEqual([paths[7], 'true'])
    await worker()
    const done = await Promise.all(
      paths.map(async path => (await fetch(second.url + path, { headers: { prefer: 'wait=20' } })).json()),
    )
    expect(done.map(operation => (operation as { result?: { doubled: number } }).result?.doubled)).toEqual(
      Array.from({ length: 20 }, (_, n) => n * 2),
    )
  })

  it('OP-19 HT-42 status, progress, result and events of a handler in another process are seen within a second', async () => {
    const [one, two] = [await web(), await worker()]
    const answer = await post(one.url, { n: 4, as: 'progress', holdMs: 600 })
    const path = answer.headers.get('location') as string
    const startedAt = performance.now()
    const stream = events(`${one.url}${path}/events`)
    expect((await events(`${one.url}${path}/events`, {}, 3)).at(-1)).toEqual(['3', 'running'])
    expect(performance.now() - startedAt).toBeLessThan(2_000)
    expect(await (await fetch(one.url + path)).json()).toMatchObject({
      status: 'running',
      attempt: 1,
      progress: { percent: 25, note: 'a quarter' },
    })
    expect(await stream).toEqual([
      ['1', 'accepted'],
      ['2', 'running'],
      ['3', 'running'],
      ['4', 'succeeded'],
    ])
    expect(await (await fetch(one.url + path)).json()).toMatchObject({ result: { doubled: 8, by: two.process.pid } })
  })

  it('an event stream resumes by Last-Event-ID after the web process was killed', async () => {
    const first = await web()
    const answer = await post(first.url, { n: 1, as: 'progress', holdMs: 100 })
    const path = answer.headers.get('location') as string
    expect(await events(`${first.url}${path}/events`, {}, 1)).toEqual([['1', 'accepted']])
    await first.kill()
    await worker()
    const second = await web(first.port)
    expect(await events(`${second.url}${path}/events`, { 'last-event-id': '1' })).toEqual([
      ['2', 'running'],
      ['3', 'running'],
      ['4', 'succeeded'],
    ])
    expect((await fetch(`${second.url}${path}/events`, { headers: { 'last-event-id': '4' } })).status).toBe(204)
  })

  it('HT-40 two processes racing on one key store one operation', async () => {
    const [one, two] = await Promise.all([web(), web()])
    const rounds = 10
    for (let round = 0; round < rounds; round++) {
      const answers = await Promise.all(
        [one, two, one, two].map(({ url }) => post(url, { n: round }, { 'idempotency-key': `race-${round}` })),
      )
      expect(answers.map(answer => answer.status)).toEqual([202, 202, 202, 202])
      expect(new Set(answers.map(answer => answer.headers.get('location'))).size).toBe(1)
      expect(answers.filter(answer => answer.headers.get('idempotency-replayed') === null)).toHaveLength(1)
    }
    const observer = createBus({ name: 'observer', transport: embedded({ path: file() }), logger: silentLogger })
    const operations = createOperations({ bus: observer })
    await observer.start()
    expect((await operations.list()).items).toHaveLength(rounds)
    const queue = (await observer.admin.queues()).find(({ name }) => name === 'work')
    expect(queue?.ready).toBe(rounds)
    await observer.stop()
  })

  it('HT-32 cancel reaches a handler in another process within a second', async () => {
    const [one, two] = [await web(), await worker()]
    const answer = await post(one.url, { n: 1, as: 'wait-for-cancel' })
    const path = answer.headers.get('location') as string
    await two.said('started')
    const startedAt = performance.now()
    expect((await fetch(one.url + path, { method: 'DELETE' })).status).toBe(202)
    expect(await two.said('aborted')).toEqual({ aborted: 'BUZZER_OPERATION_CANCELLED' })
    expect(performance.now() - startedAt).toBeLessThan(1_000)
    const ended = await (await fetch(one.url + path, { headers: { prefer: 'wait=5' } })).json()
    expect(ended).toMatchObject({ status: 'cancelled', cancelRequested: true })
  })

  it('a worker that is killed: the operation goes on in the next one, with its attempts counted', async () => {
    const one = await web()
    const first = await worker()
    const answer = await post(one.url, { n: 3, holdMs: 500 })
    const path = answer.headers.get('location') as string
    await first.said('started')
    await first.kill()
    await worker()
    const done = (await (await fetch(one.url + path, { headers: { prefer: 'wait=20' } })).json()) as { attempt: number }
    expect(done).toMatchObject({ status: 'succeeded', result: { doubled: 6 } })
    expect(done.attempt).toBe(2)
  })

  it('a webhook tells of an operation that ended while no web process was up', async () => {
    const received: string[] = []
    const receiver = createServer((incoming, outgoing) => {
      let body = ''
      incoming.on('data', chunk => (body += String(chunk)))
      incoming.on('end', () => {
        received.push(body)
        outgoing.end()
      })
    }).listen(0, '127.0.0.1')
    await once(receiver, 'listening')
    const callbackUrl = `http://127.0.0.1:${(receiver.address() as { port: number }).port}/`
    const first = await web()
    expect((await post(first.url, { n: 5, callbackUrl })).status).toBe(202)
    await first.kill()
    const second = await worker()
    await second.said('started')
    await web()
    while (received.length === 0) await new Promise(resolve => setTimeout(resolve, 50))
    receiver.close()
    expect(received.map(body => JSON.parse(body) as object)).toMatchObject([
      { type: 'operation.succeeded', data: { result: { doubled: 10 } } },
    ])
  })

  it('OP-12 withinMs runs out while no process is up: timed out when the next one starts', async () => {
    const open = (): { bus: ReturnType<typeof createBus>; operations: ReturnType<typeof createOperations> } => {
      const bus = createBus({ name: 'shop', transport: embedded({ path: file() }), logger: silentLogger })
      return { bus, operations: createOperations({ bus }) }
    }
    const first = open()
    await first.bus.start()
    const completion = { on: Finished, withinMs: 300 }
    const { id } = await first.operations.submit(Work, { n: 1 }, { completion })
    await first.bus.stop()
    await new Promise(resolve => setTimeout(resolve, 400))
    const second = open()
    await second.bus.start()
    expect(await second.operations.wait(id, { timeoutMs: 2_000 })).toMatchObject({
      status: 'failed',
      error: { type: '/problems/operation-timed-out' },
    })
    await second.bus.stop()
  })

  it('the store is full: 503 with Retry-After, nothing stored; with room again the same key is accepted', async () => {
    const transport = embedded({ path: file(), maxFileBytes: 1024 * 1024 })
    const bus = createBus({ name: 'shop', transport, logger: silentLogger })
    const Blob = defineCommand<{ pad: string }>('jobs.blob', { queue: 'blobs' })
    const gateway = createGateway({ bus }).accept('POST', '/blobs', Blob)
    await bus.start()
    const send = (key: string): Promise<Response> =>
      gateway.fetch(
        new Request('http://x/blobs', {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'idempotency-key': key },
          body: JSON.stringify({ pad: 'x'.repeat(100_000) }),
        }),
      )
    let accepted = 0
    let refused: Response | undefined
    while (refused === undefined && accepted < 50) {
      const answer = await send(`k${accepted}`)
      if (answer.status === 202) accepted++
      else refused = answer
    }
    expect(refused?.status).toBe(503)
    expect(Number(refused?.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await refused?.json()).toMatchObject({ type: '/problems/unavailable', code: 'BUZZER_BROKER_FULL' })
    expect((await transport.admin.queue('blobs')).ready).toBe(accepted)
    expect((await gateway.operations.list()).items).toHaveLength(accepted)
    await transport.admin.purge('blobs')
    const again = await send(`k${accepted}`)
    expect([again.status, again.headers.get('idempotency-replayed')]).toEqual([202, null])
    await bus.stop()
  })

  it('HT-21 the store is away: 503 within acceptTimeoutMs, not ready; back again, the key finds what was stored', async () => {
    const owner = await web()
    const bus = createBus({ name: 'shop', transport: embedded({ path: file() }), logger: silentLogger })
    const gateway = createGateway({ bus, acceptTimeoutMs: 500 }).accept('POST', '/work', Work)
    await bus.start()
    const ask = (method: string, path: string): Promise<Response> =>
      gateway.fetch(
        new Request(`http://x${path}`, {
          method,
          headers: { 'content-type': 'application/json', 'idempotency-key': 'away' },
          ...(method === 'GET' ? {} : { body: '{"n":1}' }),
        }),
      )
    expect((await ask('GET', '/readyz')).status).toBe(200)
    owner.process.kill('SIGSTOP')
    const startedAt = performance.now()
    const refused = await ask('POST', '/work')
    expect(performance.now() - startedAt).toBeLessThan(5_000)
    expect([refused.status, Number(refused.headers.get('retry-after')) > 0]).toEqual([503, true])
    expect((await ask('GET', '/livez')).status).toBe(200)
    expect((await ask('GET', '/readyz')).status).toBe(503)
    owner.process.kill('SIGCONT')
    let again = await ask('POST', '/work')
    while (again.status === 503) again = await ask('POST', '/work')
    expect(again.status).toBe(202)
    const repeated = await ask('POST', '/work')
    expect(repeated.headers.get('location')).toBe(again.headers.get('location'))
    expect((await gateway.operations.list()).items).toHaveLength(1)
    await bus.stop()
  })

  it('HT-19 1,000 concurrent accepts share commits', async () => {
    const transport = embedded({ path: file() })
    const bus = createBus({ name: 'shop', transport, logger: silentLogger })
    const gateway = createGateway({ bus }).accept('POST', '/work', Work)
    await bus.start()
    const before = (await transport.admin.engine()).commits
    const answers = await Promise.all(
      Array.from({ length: 1_000 }, (_, n) =>
        gateway.fetch(
          new Request('http://x/work', {
            method: 'POST',
            headers: { 'content-type': 'application/json', 'idempotency-key': `k${n}` },
            body: JSON.stringify({ n }),
          }),
        ),
      ),
    )
    expect(new Set(answers.map(answer => answer.status))).toEqual(new Set([202]))
    expect((await transport.admin.engine()).commits - before).toBeLessThan(200)
    await bus.stop()
  })
})
