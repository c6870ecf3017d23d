import { setTimeout as sleep } from 'node:timers/promises'
import { embedded } from '../src/broker/index.ts'
import { silentLogger } from '../src/message/index.ts'
import { machineClock } from '../src/testing/index.ts'
import type { Delivery, OutgoingMessage, Settlement } from '../src/transport/index.ts'
import { bytesOf, type Sample } from './sample.ts'

export interface SoakOptions {
  readonly path: string
  /** How long the load lasts. */
  readonly seconds: number
  /** Messages sent, handled and acknowledged per second. */
  readonly rate: number
  /** Messages that always wait. */
  readonly backlog: number
  readonly onSample?: (sample: Sample) => void
}

export interface SoakResult {
  readonly samples: readonly Sample[]
  readonly handled: number
  /** What was delivered twice, never sent, or never came: sentences. */
  readonly violations: readonly string[]
}

const queues = [
  { name: 'plain', orderBy: 'none' },
  { name: 'keyed', orderBy: 'key' },
] as const
const keys = 1_000
const bodyBytes = 200
/** Tokens are given out so often; a busy machine gives more at a time. */
const tickMs = 10
const sampleMs = 1_000
/** One in so many comes back once, after a short delay. */
const retriesEvery = 100
const retryDelayMs = 50
/** At the end something must come for as long as something is there. A key whose messages all come back once is slow. */
const drainPatienceMs = 30_000

/**
 * A steady load over a steady backlog in one process: for each message that is handled another one is sent, at a given
 * pace. What is there is remembered by number, so that a lost, doubled or invented message is found. Source: spec broker 12.
 */
export async function runSoak({ path, seconds, rate, backlog, onSample }: SoakOptions): Promise<SoakResult> {
  const transport = embedded({ path })
  await transport.connect({ logger: silentLogger })
  await transport.declare({ queues, topics: [], bindings: [] })
  const violations: string[] = []
  const there = new Set<number>()
  const tokens = new Pace()
  let next = 0
  let handled = 0

  const send = (count: number): Promise<void> => {
    const messages = Array.from({ length: count }, () => messageOf(next++))
    for (const { id } of messages) there.add(Number(id))
    return transport.send(messages)
  }
  const handle = async (delivery: Delivery): Promise<Settlement> => {
    const number = Number(delivery.id)
    await tokens.take()
    if (number % retriesEvery === 0 && delivery.attempt === 1) return { as: 'retry', delayMs: retryDelayMs }
    if (!there.delete(number))
      violations.push(`message ${number} was handled and was not there, attempt ${delivery.attempt}`)
    handled++
    return { as: 'ack' }
  }

  for (let left = backlog; left > 0; left -= 1_000) await send(Math.min(left, 1_000))
  await Promise.all(queues.map(({ name, orderBy }) => transport.receive(name, handle, { maxInFlight: 1_000, orderBy })))
  const samples: Sample[] = []
  const startedAt = machineClock.monotonic()
  const pending = new Set<Promise<void>>()
  let [given, lastAt, lastHandled] = [0, startedAt, 0]
  for (let now = startedAt; now < startedAt + seconds * 1_000; now = machineClock.monotonic()) {
    const due = Math.floor(((now - startedAt) / 1_000) * rate) - given
    // What the broker cannot take is not piled up: at most a second's worth is under way.
    const count = Math.min(due, Math.max(0, rate - tokens.waitingFor))
    given += due
    if (count > 0) {
      tokens.give(count)
      const sent = send(count).catch((error: unknown) => void violations.push(`a send failed: ${String(error)}`))
      pending.add(sent)
      void sent.finally(() => pending.delete(sent))
    }
    if (now - lastAt >= sampleMs) {
      const sample: Sample = {
        seconds: (now - startedAt) / 1_000,
        rate: ((handled - lastHandled) * 1_000) / (now - lastAt),
        memoryBytes: process.memoryUsage.rss(),
        databaseBytes: bytesOf(path),
        walBytes: bytesOf(`${path}-wal`),
      }
      samples.push(sample)
      onSample?.(sample)
      lastAt = now
      lastHandled = handled
    }
    await sleep(tickMs)
  }
  await Promise.all(pending)
  const underLoad = handled
  tokens.give(Infinity)
  let [left, until] = [there.size, machineClock.monotonic() + drainPatienceMs]
  while (there.size > 0 && machineClock.monotonic() < until) {
    await sleep(20)
    if (there.size < left) [left, until] = [there.size, machineClock.monotonic() + drainPatienceMs]
  }
  if (there.size > 0) violations.push(`${there.size} messages never came`)
  await transport.close()
  return { samples, handled: underLoad, violations }
}

function messageOf(number: number): OutgoingMessage {
  const isKeyed = number % 2 === 0
  return {
    id: String(number),
    to: { queue: isKeyed ? 'keyed' : 'plain' },
    attributes: { specversion: '1.0', type: 'soak.made', source: '/soak' },
    headers: {},
    body: Buffer.alloc(bodyBytes, number % 256),
    priority: 4,
    mandatory: true,
    ...(isKeyed ? { key: String(number % keys) } : {}),
  }
}

/** Hands out permissions in the order in which they are asked for. */
class Pace {
  #tokens = 0
  readonly #waiting: (() => void)[] = []

  /** Permissions that were given and that nobody has taken. */
  get waitingFor(): number {
    return this.#tokens
  }

  give(count: number): void {
    this.#tokens += count
    while (this.#tokens > 0) {
      const first = this.#waiting.shift()
      if (first === undefined) return
      this.#tokens--
      first()
    }
  }

  async take(): Promise<void> {
    if (this.#tokens > 0) {
      this.#tokens--
      return
    }
    await new Promise<void>(resolve => this.#waiting.push(resolve))
  }
}
