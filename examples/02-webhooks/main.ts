// Posts every example payload of GitHub, signed, to a receiver that stores and answers; lets another process handle them;
// and compares what arrived with what was sent.
import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { JsonObject } from 'buzzer'
import { type Delivery, allDeliveries, eventNames } from './payloads.ts'
import { sign } from './signature.ts'

const secret = 'it is a secret to everybody'
const postsAtOnce = 16
const handledWithinMs = 30_000

const folder = mkdtempSync(join(tmpdir(), 'buzzer-webhooks-'))
const file = join(folder, 'hooks.db')
const children: ChildProcess[] = []
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))

function start(script: string, ...args: string[]): ChildProcess {
  const child = fork(new URL(script, import.meta.url), [file, ...args], { serialization: 'advanced' })
  children.push(child)
  return child
}

async function stop(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit')
  child.disconnect()
  await exited
}

interface Posted {
  readonly status: number
  readonly ms: number
}

async function post(at: string, { event, id, payload }: Delivery, key = secret): Promise<Posted> {
  const body = Buffer.from(JSON.stringify(payload))
  const calledAt = performance.now()
  const response = await fetch(at, {
    method: 'POST',
    body,
    headers: {
      'content-type': 'application/json',
      'x-github-event': event,
      'x-github-delivery': id,
      'x-hub-signature-256': sign(key, body),
    },
  })
  await response.arrayBuffer()
  return { status: response.status, ms: performance.now() - calledAt }
}

/** `act` on every item, at most `limit` at once. */
async function eachOf<T>(items: readonly T[], limit: number, act: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values()
  await Promise.all(
    Array.from({ length: limit }, async () => {
      for (const item of rest) await act(item)
    }),
  )
}

const deliveries = allDeliveries()
const receiver = start('./receiver.ts', secret)
const [{ port }] = (await once(receiver, 'message')) as [{ port: number }]
const at = `http://127.0.0.1:${port}/`

// No worker is running: everything below is accepted all the same.
const slowest = { ms: 0 }
await eachOf(deliveries, postsAtOnce, async delivery => {
  const { status, ms } = await post(at, delivery)
  assert.equal(status, 202, `${delivery.id} was answered ${status}`)
  slowest.ms = Math.max(slowest.ms, ms)
})
console.log(`posted ${deliveries.length} payloads of ${eventNames.length} event types: all answered 202`)
console.error(`the slowest answer took ${slowest.ms.toFixed(0)} ms`)

const [first] = deliveries
assert(first !== undefined)
assert.equal((await post(at, { ...first, id: 'forged' }, 'a guess')).status, 401)
assert.equal((await post(at, { ...first, id: 'unknown', event: 'no-such-event' })).status, 404)
assert.equal((await post(at, first)).status, 202)
console.log('a wrong signature was refused, an unknown event too, a repeated delivery was accepted once')

const handled: { event: string; payload: JsonObject }[] = []
const worker = start('./worker.ts')
await new Promise<void>((resolve, reject) => {
  const limit = setTimeout(
    () => reject(new Error(`${handled.length} of ${deliveries.length} were handled within ${handledWithinMs} ms`)),
    handledWithinMs,
  )
  worker.on('message', (message: 'ready' | { event: string; payload: JsonObject }) => {
    if (message === 'ready') return
    handled.push(message)
    if (handled.length < deliveries.length) return
    clearTimeout(limit)
    resolve()
  })
})
// Stopping drains: what was handled twice, or should not have been stored, would show up now.
await stop(worker)
await stop(receiver)

/** Equal payloads are told apart by nothing, so both sides are compared in the same order. */
const inOrder = (all: readonly { event: string; payload: JsonObject }[]): readonly string[] =>
  all.map(({ event, payload }) => `${event} ${JSON.stringify(payload)}`).toSorted()
assert.equal(handled.length, deliveries.length)
assert.deepEqual(inOrder(handled), inOrder(deliveries))
for (const event of eventNames) {
  const sent = deliveries.filter(delivery => delivery.event === event).map(({ payload }) => payload)
  const got = handled.filter(each => each.event === event).map(({ payload }) => payload)
  assert.equal(got.length, sent.length, event)
}
console.log(`handled ${handled.length} payloads in another process, each equal to what was sent, each once`)
