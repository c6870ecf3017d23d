import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Summary } from './contracts.ts'

const main = fileURLToPath(new URL('./main.ts', import.meta.url))
const command = fileURLToPath(new URL('../../packages/buzzer/src/cli/main.ts', import.meta.url))
const onSources = '--conditions=buzzer-source'
const deadMs = 1_500

let environment: Readonly<Record<string, string>> = {}
let service: ChildProcess
let printed = ''
let at = ''

/** Asks every 50 ms until `read` gives something; the test's time limit is the deadline. */
async function until<T>(read: () => Promise<T | undefined> | T | undefined): Promise<T> {
  for (;;) {
    const found = await read()
    if (found !== undefined) return found
    await sleep(50)
  }
}

const processIds = (): { web: number; worker: number } => {
  const [, web, worker] = /web process (\d+), worker process (\d+)/.exec(printed) ?? []
  return { web: Number(web), worker: Number(worker) }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

interface Placed {
  readonly status: number
  readonly location: string
  readonly ms: number
}

async function order(sku: string, headers: Record<string, string> = {}): Promise<Placed & { body: OperationBody }> {
  const calledAt = performance.now()
  const response = await fetch(`${at}/orders`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ sku, quantity: 2 }),
  })
  const body = (await response.json()) as OperationBody
  const ms = performance.now() - calledAt
  return { status: response.status, location: response.headers.get('location') ?? '', ms, body }
}

interface OperationBody {
  readonly id: string
  readonly status: string
  readonly result?: { total: number; times: number }
}

const operation = async (location: string): Promise<OperationBody> =>
  (await (await fetch(`${at}${location}`)).json()) as OperationBody

const summary = async (): Promise<Summary> => (await (await fetch(`${at}/demo/summary`)).json()) as Summary

/** Runs the command without blocking this process: its idle connections would be closed by the server unnoticed. */
async function buzzer(...args: string[]): Promise<{ status: number; lines: Record<string, unknown>[] }> {
  const child = spawn(process.execPath, [onSources, command, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...environment },
  })
  let written = ''
  child.stdout.on('data', (text: Buffer) => (written += text.toString()))
  const [status] = (await once(child, 'close')) as [number]
  const lines = written.split('\n').filter(Boolean)
  return { status, lines: lines.map(line => JSON.parse(line) as Record<string, unknown>) }
}

/** Where the service runs: its environment, and what is cleaned up afterwards. */
export interface Place extends AsyncDisposable {
  readonly environment: Readonly<Record<string, string>>
}

/** The whole walk that `npm start` invites to, with real processes over HTTP. The tests stand in the order of the walk. */
export function walkOrderService(where: string, prepare: () => Promise<Place>): void {
  describe(`the order service ${where}`, () => {
    let place: Place
    beforeAll(async () => {
      place = await prepare()
      environment = place.environment
      service = spawn(process.execPath, [onSources, main], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, ...environment, PORT: '0', SHOP_DEAD_MS: String(deadMs) },
      })
      service.stdout?.on('data', (text: Buffer) => {
        printed += text.toString()
      })
      at = await until(() => (printed.includes('Ctrl-C') ? /at (http:\S+)/.exec(printed)?.[1] : undefined))
    }, 60_000)

    afterAll(async () => {
      if (service.exitCode === null && service.signalCode === null) {
        const exited = once(service, 'exit')
        service.kill('SIGKILL')
        await exited
      }
      await place[Symbol.asyncDispose]()
    })

    test('accepts an order with 202 and a location, and handles it in the other process', async () => {
      const placed = await order('lamp')
      expect(placed.status).toBe(202)
      expect(placed.location).toBe(`/operations/${placed.body.id}`)
      const done = await until(async () => {
        const now = await operation(placed.location)
        return now.status === 'succeeded' ? now : undefined
      })
      expect(done.result).toEqual({ orderId: placed.body.id, total: 98, times: 1 })
      const name = placed.body.id.slice(-6)
      await until(() => (printed.includes(`shipped    ${name}  for 98 €`) ? true : undefined))
      expect(printed).toMatch(new RegExp(`accepted {3}${name} {2}in [0-9.]+ ms`))
    })

    test('answers with the result to a client that prefers to wait', async () => {
      const placed = await order('chair', { prefer: 'wait=10' })
      expect([placed.status, placed.body.status, placed.body.result?.total]).toEqual([200, 'succeeded', 240])
    })

    test('tells the buzzer over server-sent events, from accepted to done', async () => {
      const placed = await order('table')
      const stream = await (await fetch(`${at}${placed.location}/events`)).text()
      const events = [...stream.matchAll(/^event: (\S+)$/gm)].map(([, name]) => name)
      expect(events[0]).toBe('status')
      expect(events).toContain('progress')
      expect(events.at(-1)).toBe('done')
      const versions = [...stream.matchAll(/^id: (\d+)$/gm)].map(([, version]) => Number(version))
      expect(versions).toEqual(versions.map((_, i) => i + 1))
    })

    test('keeps accepting while the worker lies killed, and then handles every order once', async () => {
      const { worker } = processIds()
      const before: Placed[] = []
      for (let i = 0; i < 10; i++) before.push(await order('lamp'))
      // The worker dies with orders open in its hands.
      expect((await fetch(`${at}/demo/kill-worker`, { method: 'POST' })).status).toBe(202)
      await until(() => (isAlive(worker) ? undefined : true))

      const meanwhile: Placed[] = []
      for (let i = 0; i < 30; i++) meanwhile.push(await order('lamp'))
      expect(meanwhile.map(({ status }) => status)).toEqual(meanwhile.map(() => 202))

      await until(() => (printed.split('worker is up').length > 2 ? true : undefined))
      for (const { location } of [...before, ...meanwhile]) {
        await until(async () => ((await operation(location)).status === 'succeeded' ? true : undefined))
      }
      expect(await summary()).toMatchObject({
        orders: { succeeded: 43 },
        tookEffectTwice: 0,
        queue: { ready: 0, dead: 0 },
      })
    }, 60_000)

    test('leads a poison order to the dead letters with its reason, and redrives it after the fix', async () => {
      const placed = await order('unobtainium')
      expect(placed.status).toBe(202)
      await until(async () => ((await operation(placed.location)).status === 'failed' ? true : undefined))

      const listed = await buzzer('dead-letters', 'list')
      expect(listed.lines).toMatchObject([
        {
          queue: 'orders',
          messageId: placed.body.id,
          type: 'shop.submit-order',
          reason: 'retries-exhausted',
          attempts: 6,
          error: { name: 'Error', message: 'no price for unobtainium' },
        },
      ])

      expect((await fetch(`${at}/demo/fix`, { method: 'POST' })).status).toBe(202)
      await until(() => (printed.includes('the fix is deployed') ? true : undefined))
      const redriven = await buzzer('dead-letters', 'redrive', 'orders', '--all')
      expect([redriven.status, redriven.lines]).toEqual([0, [{ queue: 'orders', redriven: 1, failures: [] }]])

      await until(async () => ((await operation(placed.location)).status === 'succeeded' ? true : undefined))
      expect(await summary()).toMatchObject({ orders: { succeeded: 44 }, tookEffectTwice: 0, queue: { dead: 0 } })
      expect((await buzzer('dead-letters', 'list')).lines).toEqual([])
    }, 60_000)

    test('refuses bad input with a problem document and stores nothing', async () => {
      const before = await summary()
      const post = (path: string, body: string, type = 'application/json'): Promise<Response> =>
        fetch(`${at}${path}`, { method: 'POST', body, headers: { 'content-type': type } })
      const answers = await Promise.all([
        post('/orders', '{"sku":'),
        post('/orders', '{"sku":7,"quantity":1}'),
        post('/orders', ''),
        post('/orders', 'sku=lamp', 'text/plain'),
        post('/nowhere', '{}'),
        fetch(`${at}/operations/no-such-id`),
        fetch(`${at}/operations/01a20947-6d1c-7a52-9f3e-6f0f4be8a111`),
      ])
      expect(answers.map(({ status }) => status)).toEqual([400, 422, 422, 415, 404, 404, 404])
      for (const answer of answers) expect(answer.headers.get('content-type')).toContain('application/problem+json')
      expect(await summary()).toEqual(before)
    })

    test('drains on a signal and leaves no process behind', async () => {
      const { web } = processIds()
      const placed = await order('lamp')
      expect(placed.status).toBe(202)
      const exited = once(service, 'exit')
      service.kill('SIGTERM')
      expect(await exited).toEqual([0, null])
      expect(isAlive(web)).toBe(false)
      const workers = [...printed.matchAll(/worker is up, process (\d+)/g)].map(([, pid]) => Number(pid))
      expect(workers.filter(isAlive)).toEqual([])
    }, 60_000)
  })
}
