import { join } from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { checkFile } from './index.ts'
import type { OrderBy } from '../../transport/index.ts'
import {
  type EngineClient,
  EngineHost,
  messageTo,
  temporaryFolder,
  textOf,
} from '../../../test/broker/engine-client.ts'

// Thousands of commits take a busy machine its time.
vi.setConfig({ testTimeout: 120_000 })

/** What the test knows of one message. */
interface Entry {
  readonly text: string
  readonly key: string | undefined
  readonly priority: number
  state: 'ready' | 'locked' | 'scheduled' | 'parked' | 'dead'
  attempts: number
  /** Deliveries in a row that ended with the death of the process. */
  deaths: number
  due: number
  token: number
  sequence: number
}

type Step =
  | {
      readonly do: 'send'
      readonly keys: readonly number[]
      readonly delays: readonly number[]
      readonly priority: number
    }
  | { readonly do: 'ack' | 'retry' | 'release' | 'dead-letter' | 'park'; readonly pick: number }
  | { readonly do: 'retry-later'; readonly pick: number; readonly ms: number }
  | { readonly do: 'advance'; readonly ms: number }
  | { readonly do: 'crash' | 'restart' | 'die' | 'unpark' | 'redrive' | 'purge' }

const delay = fc.constantFrom(0, 0, 0, 50, 200)
const pick = fc.nat(1_000)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('send' as const),
      keys: fc.array(fc.nat(3), { minLength: 1, maxLength: 6 }),
      delays: fc.array(delay, { minLength: 6, maxLength: 6 }),
      priority: fc.constantFrom(4, 4, 9),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constantFrom('ack', 'ack', 'retry', 'release', 'dead-letter', 'park'), pick }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('retry-later' as const), pick, ms: fc.constantFrom(30, 100) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('advance' as const), ms: fc.constantFrom(1, 40, 150) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('crash', 'restart', 'die', 'unpark', 'redrive', 'purge') }) },
)

const maxDeliveries = 4

class Model {
  readonly host: EngineHost
  readonly orderBy: OrderBy
  readonly entries: Entry[] = []
  readonly gone = new Set<string>()
  client: EngineClient
  #sent = 0

  constructor(path: string, orderBy: OrderBy) {
    this.orderBy = orderBy
    this.host = new EngineHost(path)
    this.client = this.host.connect()
    this.client.declare({ name: 'q', orderBy, maxDeliveries })
    this.client.subscribe('q', 3)
  }

  #open(): Entry[] {
    return this.entries.filter(({ state }) => state === 'locked')
  }

  #remove(entry: Entry): void {
    this.entries.splice(this.entries.indexOf(entry), 1)
    this.gone.add(entry.text)
  }

  /** What the end of a delivery does that was counted. */
  #back(entry: Entry, delayMs: number): void {
    if (entry.attempts >= maxDeliveries) entry.state = 'dead'
    else if (delayMs > 0) {
      entry.state = 'scheduled'
      entry.due = this.host.clock.now() + delayMs
    } else entry.state = 'ready'
  }

  #sessionEnds(): void {
    for (const entry of this.#open()) {
      this.#back(entry, 0)
      entry.deaths++
    }
  }

  apply(step: Step): void {
    const { client, host } = this
    switch (step.do) {
      case 'send': {
        const messages = step.keys.map((key, index) => {
          const text = String(++this.#sent)
          const delayMs = step.delays[index] ?? 0
          const due = host.clock.now() + delayMs
          const entry: Entry = {
            text,
            key: key === 0 ? undefined : `k${key}`,
            priority: step.priority,
            state: delayMs > 0 ? 'scheduled' : 'ready',
            attempts: 0,
            deaths: 0,
            due,
            token: 0,
            sequence: 0,
          }
          this.entries.push(entry)
          return messageTo('q', text, {
            priority: step.priority,
            ...(entry.key === undefined ? {} : { key: entry.key }),
            ...(delayMs > 0 ? { deliverAt: due } : {}),
          })
        })
        expect(client.send(messages)).toBeUndefined()
        break
      }
      case 'advance':
        host.advance(step.ms)
        break
      case 'crash':
      case 'restart':
        if (step.do === 'crash') host.crash()
        else host.restart()
        this.#sessionEnds()
        this.#reconnect()
        break
      case 'die':
        client.die()
        this.#sessionEnds()
        this.#reconnect()
        break
      case 'unpark': {
        const parked = this.entries.filter(({ state }) => state === 'parked')
        for (const entry of parked) entry.state = 'ready'
        const ids = parked.map(({ sequence }) => String(sequence))
        expect(client.call({ call: 'admin', method: 'unpark', queue: 'q', ids })).toBe(parked.length)
        break
      }
      case 'redrive': {
        const dead = this.entries.filter(({ state }) => state === 'dead')
        for (const entry of dead) {
          entry.state = 'ready'
          entry.attempts = 0
          entry.deaths = 0
        }
        expect(client.call({ call: 'admin', method: 'redrive', queue: 'q' })).toBe(dead.length)
        break
      }
      case 'purge': {
        const ready = this.entries.filter(({ state }) => state === 'ready')
        for (const entry of ready) this.#remove(entry)
        expect(client.call({ call: 'admin', method: 'purge', queue: 'q' })).toBe(ready.length)
        break
      }
      default:
        this.#settle(step)
    }
    this.#settleTime()
    this.#receive()
    this.#compare()
  }

  #reconnect(): void {
    this.client = this.host.connect()
    this.client.subscribe('q', 3)
  }

  #settle(step: Extract<Step, { readonly pick: number }>): void {
    const open = this.#open()
    const entry = open[step.pick % Math.max(1, open.length)]
    if (entry === undefined) return
    const { client } = this
    switch (step.do) {
      case 'ack':
        this.#remove(entry)
        client.ack(entry.token)
        return
      case 'retry':
        entry.deaths = 0
        this.#back(entry, 0)
        expect(client.settle(entry.token, { as: 'retry' })).toBeUndefined()
        return
      case 'retry-later':
        entry.deaths = 0
        this.#back(entry, step.ms)
        expect(client.settle(entry.token, { as: 'retry', delayMs: step.ms })).toBeUndefined()
        return
      case 'release':
        entry.state = 'ready'
        entry.attempts--
        expect(client.settle(entry.token, { as: 'release' })).toBeUndefined()
        return
      case 'dead-letter':
        entry.state = 'dead'
        expect(client.settle(entry.token, { as: 'dead-letter', reason: 'test' })).toBeUndefined()
        return
      case 'park':
        entry.state = 'parked'
        expect(client.settle(entry.token, { as: 'park' })).toBeUndefined()
        return
      default:
        step satisfies never
    }
  }

  #settleTime(): void {
    const now = this.host.clock.now()
    for (const entry of this.entries) if (entry.state === 'scheduled' && entry.due <= now) entry.state = 'ready'
  }

  #receive(): void {
    for (const delivery of this.client.take()) {
      const text = textOf(delivery)
      expect(this.gone.has(text), `${text} came back although it was gone`).toBe(false)
      const entry = this.entries.find(candidate => candidate.text === text)
      expect(entry?.state, `${text} is delivered`).toBe('ready')
      if (entry === undefined) continue
      entry.attempts++
      expect(delivery.attempt).toBe(entry.attempts)
      expect(delivery.message.key).toBe(entry.key)
      entry.state = 'locked'
      entry.token = delivery.token
      entry.sequence = delivery.sequence
    }
  }

  #compare(): void {
    const counts = { ready: 0, locked: 0, scheduled: 0, parked: 0, dead: 0 }
    for (const { state } of this.entries) counts[state]++
    expect(this.client.counts('q')).toEqual(counts)
    const open = this.#open()
    if (this.orderBy === 'queue') expect(open.length).toBeLessThanOrEqual(1)
    if (this.orderBy === 'key') {
      const keys = open.flatMap(({ key }) => key ?? [])
      expect(new Set(keys).size, 'no key is open twice').toBe(keys.length)
    }
    // Nothing that could be open waits.
    const suspectsOpen = open.filter(({ deaths }) => deaths >= 2).length
    expect(suspectsOpen, 'suspects run alone').toBeLessThanOrEqual(1)
    if (this.orderBy === 'none' && open.length < 3) {
      const waiting = this.entries.filter(
        ({ state, deaths }) => state === 'ready' && (deaths < 2 || suspectsOpen === 0),
      )
      expect(waiting).toEqual([])
    }
    if (this.orderBy === 'queue' && counts.ready > 0 && open.length === 0) {
      expect(
        this.entries.some(({ state, attempts }) => state === 'scheduled' && attempts > 0),
        'the head waits for its retry',
      ).toBe(true)
    }
  }

  finish(): void {
    this.host.advance(1_000)
    this.#settleTime()
    this.#receive()
    this.#compare()
    for (let rounds = 0; rounds < 500; rounds++) {
      const open = this.#open()
      if (open.length === 0) break
      for (const entry of open) {
        this.#remove(entry)
        this.client.ack(entry.token)
      }
      this.#receive()
    }
    const left = this.entries.filter(({ state }) => state !== 'parked' && state !== 'dead')
    expect(left, 'the queue drains').toEqual([])
    this.#compare()
    this.host.engine.close()
    expect(checkFile(this.host.path)).toEqual({ ok: true, problems: [] })
  }
}

describe('counts, attempts and exclusion against a model, over crashes', () => {
  it.each(['none', 'queue', 'key'] as const)(
    'B63 orderBy %s: random operations and restarts agree with the model',
    orderBy => {
      fc.assert(
        fc.property(fc.array(step, { minLength: 10, maxLength: 60 }), steps => {
          const folder = temporaryFolder()
          try {
            const model = new Model(join(folder.path, 'm.db'), orderBy)
            for (const one of steps) model.apply(one)
            model.finish()
          } finally {
            folder.remove()
          }
        }),
        { seed: Number(process.env['MODEL_SEED'] ?? 42), numRuns: Number(process.env['MODEL_RUNS'] ?? 40) },
      )
    },
  )
})
