import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { silentLogger, systemClock } from 'buzzer'
import {
  checkHistory,
  type HistoryRecord,
  Journal,
  journalled,
  machineClock,
  notePresent,
  type Promises,
  readJournals,
  type Violation,
} from 'buzzer/testing'
import type { OnDelivery, OrderBy, OutgoingMessage, Transport } from 'buzzer/transport'
import { postgres, type PostgresOptions } from '../src/index.ts'

/** What the chaos cases share: a history that all clients write, and its judgement at the end. */
export class ChaosRun implements AsyncDisposable {
  readonly folder: string = mkdtempSync(join(tmpdir(), 'buzzer-chaos-'))
  readonly queues: Map<string, OrderBy> = new Map()
  readonly #journal = new Journal(this.folder, 'judge')
  readonly #transports: Transport[] = []
  readonly #options: PostgresOptions
  handled = 0
  confirmed = 0
  #ids = 0

  constructor(options: PostgresOptions) {
    // A busy machine stops a process for seconds: what is not about leases must not depend on that.
    this.#options = { leaseMs: 20_000, ...options }
  }

  write(record: HistoryRecord): void {
    this.#journal.write(record)
  }

  /** A client with a name of its own in the history. */
  async client(process: string, options: PostgresOptions = {}): Promise<Transport> {
    const journal = new Journal(this.folder, process)
    journal.write({ as: 'born', process, at: machineClock.monotonic() })
    const bare = postgres({ ...this.#options, ...options })
    const transport = journalled(bare as unknown as Transport, {
      process,
      write: record => journal.write(record),
    })
    await transport.connect({
      bus: process,
      instanceId: process,
      clock: systemClock,
      logger: silentLogger,
      onState() {},
    })
    this.#transports.push(transport)
    return transport
  }

  async queue(name: string, orderBy: OrderBy = 'none'): Promise<string> {
    const transport = this.#transports[0] ?? (await this.client('first'))
    await transport.declare({ queues: [{ name, orderBy, maxDeliveries: 1_000_000 }], topics: [], bindings: [] })
    this.queues.set(name, orderBy)
    return name
  }

  message(queue: string, change: Partial<OutgoingMessage> = {}): OutgoingMessage {
    const id = `m${++this.#ids}`
    return {
      id,
      to: { queue },
      attributes: { specversion: '1.0', id, type: 'chaos' },
      headers: { n: String(this.#ids) },
      body: new TextEncoder().encode(`{"id":"${id}","pad":"${'x'.repeat(100)}"}`),
      priority: 4,
      mandatory: false,
      ...change,
    }
  }

  /** Sends `count` messages, so many at a time; each is repeated under a new id when its outcome is not known. */
  async produce(
    transport: Transport,
    count: number,
    atOnce: number,
    make: (n: number) => OutgoingMessage,
  ): Promise<void> {
    let next = 0
    const lane = async (): Promise<void> => {
      while (next < count) {
        const n = next++
        await transport.send([make(n)]).then(
          () => {
            this.confirmed++
          },
          () => {},
        )
      }
    }
    await Promise.all(Array.from({ length: atOnce }, lane))
  }

  async consume(
    transport: Transport,
    queue: string,
    maxInFlight: number,
    handle: OnDelivery = () => Promise.resolve({ as: 'ack' }),
  ): Promise<void> {
    const onDelivery: OnDelivery = async delivery => {
      const settlement = await handle(delivery)
      this.handled++
      return settlement
    }
    await transport.receive(queue, onDelivery, { maxInFlight, orderBy: this.queues.get(queue) ?? 'none' })
  }

  cut(process?: string): void {
    this.write({ as: 'cut', at: machineClock.monotonic(), ...(process === undefined ? {} : { process }) })
  }

  /** The faults have ended: waits until the queues are empty, tries a send, and judges the history. */
  async judge(promises: Promises = {}, patienceMs = 60_000): Promise<readonly Violation[]> {
    const judge = await this.client('judge-client')
    this.write({ as: 'quiet', at: machineClock.monotonic() })
    const names = [...this.queues.keys()]
    const left = await drained(judge, names, patienceMs)
    this.write({ as: 'drained', at: machineClock.monotonic(), left })
    const [first] = names
    const probe = await judge.send([this.message(first as string)]).then(
      () => 'ok' as const,
      () => 'fail' as const,
    )
    this.write({ as: 'probe', at: machineClock.monotonic(), outcome: probe })
    // Consumers in other processes take the probe: what is looked at next must not be in the middle of its settlement.
    await drained(judge, names, 5_000)
    await this.close()
    const last = await this.client('last')
    await notePresent(last.admin as Required<NonNullable<typeof last.admin>>, names, record => this.write(record))
    await last.close()
    const orderBy = Object.fromEntries(this.queues)
    return checkHistory(readJournals(this.folder), {
      orderBy,
      lockMs: this.#options.leaseMs ?? 20_000,
      livesWithinMs: patienceMs,
      ...promises,
    })
  }

  async close(): Promise<void> {
    await Promise.all(this.#transports.splice(0).map(transport => transport.close()))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
    this.#journal.close()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** Waits until nothing is left in the queues; resolves with how much is when patience ends. */
async function drained({ admin }: Transport, names: readonly string[], patienceMs: number): Promise<number> {
  for (const giveUpAt = performance.now() + patienceMs; ; ) {
    await sleep(100)
    const figures = await Promise.all(names.map(async name => admin?.queue(name)))
    const left = figures.reduce((sum, one) => sum + (one?.ready ?? 0) + (one?.locked ?? 0) + (one?.scheduled ?? 0), 0)
    if (left === 0 || performance.now() > giveUpAt) return left
  }
}
