import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Bus, type BusOptions, createBus, type DeadLetter, type QueueOptions } from '../../bus/index.ts'
import { newId, silentLogger } from '../../message/index.ts'
import type { Transport } from '../../transport/index.ts'
import { rejection, settles, until } from './waiting.ts'

export interface BusConformanceOptions {
  readonly name: string
  /** A new, unconnected transport. All made by it reach one and the same broker. */
  create(): Transport | Promise<Transport>
  /** With `transactions: 'caller'`: runs `work` in a transaction of the caller. */
  readonly transaction?: <T>(work: (tx: unknown) => Promise<T>) => Promise<T>
  /** Added to the options of every bus of the suite: a store, for instance. */
  readonly options?: Partial<BusOptions<unknown, unknown>>
  /** Cases that do not apply, by name, with the reason that is reported. */
  readonly exceptions?: Readonly<Record<string, string>>
  /** How long a case waits for what must happen. Default 10,000. */
  readonly patienceMs?: number
  /** How long a case listens for what must not happen. Default 100. */
  readonly quietMs?: number
  /** How long a bus may take to start, topology included. Default 0: next to nothing. */
  readonly startMs?: number
}

/** A case of the bus suite. `needs` answers the reason why it does not apply. */
export interface BusCase {
  /** Begins with the ids of the checklist in spec bus 6. */
  readonly name: string
  readonly needs?: (world: BusWorld) => string | undefined
  readonly run: (world: BusWorld) => Promise<void>
}

/** What arrived, in order, and a way to wait for a number of it. */
export class Seen<T> {
  readonly all: T[] = []
  readonly #world: BusWorld

  constructor(world: BusWorld) {
    this.#world = world
  }

  add(one: T): void {
    this.all.push(one)
  }

  /** Waits for `count`, then listens a while for more than that. */
  async exactly(count: number): Promise<readonly T[]> {
    await this.atLeast(count)
    await this.#world.quiet()
    assert.equal(this.all.length, count, `expected exactly ${count}, but ${this.all.length} arrived`)
    return this.all
  }

  async atLeast(count: number): Promise<readonly T[]> {
    await this.#world.until(
      () => this.all.length >= count,
      () => `expected ${count}, but ${this.all.length} arrived`,
    )
    return this.all
  }
}

/** What a case may do: buses on one broker, names nobody else uses, and waits with a deadline. */
export class BusWorld {
  readonly options: BusConformanceOptions
  readonly patienceMs: number
  readonly quietMs: number
  readonly startMs: number
  /** One connected transport, to look at capabilities. */
  capabilities!: Transport['capabilities']
  hasStore = false
  readonly #buses: Bus<unknown>[] = []
  readonly #prefix: string = `c${newId().slice(-10)}`
  #names = 0

  constructor(options: BusConformanceOptions) {
    this.options = options
    this.patienceMs = options.patienceMs ?? 10_000
    this.quietMs = options.quietMs ?? 100
    this.startMs = options.startMs ?? 0
  }

  async open(): Promise<void> {
    const probe = await this.options.create()
    this.capabilities = probe.capabilities
    this.hasStore = this.options.options?.store !== undefined || probe.store !== undefined
    await probe.close()
  }

  async close(): Promise<void> {
    await settles(Promise.all(this.#buses.map(bus => bus.stop({ timeoutMs: 500 }))), 'stop', this.patienceMs)
  }

  /** A name that no other case uses. */
  name(what: string): string {
    return `${this.#prefix}.${what}${++this.#names}`
  }

  /** A bus that is not started. */
  async bus(options: Partial<BusOptions<unknown, unknown>> = {}): Promise<Bus<unknown>> {
    const transport = (await this.options.create()) as unknown as Transport<unknown>
    const bus = createBus<unknown, unknown>({
      name: 'suite',
      transport,
      logger: silentLogger,
      random: () => 0.5,
      ...this.options.options,
      ...options,
    })
    this.#buses.push(bus)
    return bus
  }

  /** A started bus. */
  async started(
    configure: (bus: Bus<unknown>) => void,
    options: Partial<BusOptions<unknown, unknown>> = {},
  ): Promise<Bus<unknown>> {
    const bus = await this.bus(options)
    configure(bus)
    await settles(bus.start(), 'start', this.patienceMs)
    return bus
  }

  seen<T>(): Seen<T> {
    return new Seen<T>(this)
  }

  until(holds: () => boolean | Promise<boolean>, what: string | (() => string)): Promise<void> {
    return until(holds, what, this.patienceMs)
  }

  rejects(promise: Promise<unknown>, code: string): ReturnType<typeof rejection> {
    return rejection(promise, code, `a call that must fail with ${code}`, this.patienceMs)
  }

  /** Long enough for what must not happen to happen. */
  async quiet(): Promise<void> {
    await sleep(this.quietMs)
  }

  /** Waits for a number of dead letters and returns them, newest first. */
  async deadLetters(bus: Bus<unknown>, queue: string, count: number): Promise<readonly DeadLetter[]> {
    let items: readonly DeadLetter[] = []
    await this.until(
      async () => {
        items = (await bus.admin.deadLetters(queue).list({ limit: 1_000 })).items
        return items.length >= count
      },
      () => `expected ${count} dead letters on ${queue}, but there are ${items.length}`,
    )
    assert.equal(items.length, count)
    return items
  }

  /** Waits until the queue holds nothing but dead letters. */
  async drained(bus: Bus<unknown>, queue: string): Promise<void> {
    await this.until(async () => {
      const figures = (await bus.admin.queues()).find(one => one.name === queue)
      return figures === undefined || figures.ready + figures.locked + figures.scheduled === 0
    }, `queue ${queue} was not drained`)
  }
}

/** A policy without waits, for cases that are not about time. */
export const once: QueueOptions = { retry: 'none' }

/** A promise to be resolved by hand. */
export function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { opened: promise, open: resolve }
}
