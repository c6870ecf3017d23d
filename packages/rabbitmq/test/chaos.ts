import { setTimeout as sleep } from 'node:timers/promises'
import { silentLogger, systemClock } from 'buzzer'
import { checkHistory, type HistoryRecord, journalled, machineClock, type Promises } from 'buzzer/testing'
import type { OutgoingMessage, Receiver, Settlement, Transport } from 'buzzer/transport'
import { expect } from 'vitest'
import { RabbitMq } from '../src/rabbitmq.ts'
import { type RabbitMqOptions, resolveOptions } from '../src/options.ts'

/**
 * What RabbitMQ with this transport promises. An array is accepted in parts; a settlement and its outputs are two steps; a
 * fault may bring a message twice; attempts made in an ordered queue are forgotten by a death.
 */
export const promises: Promises = {
  acceptance: 'calls',
  // The broker hands a message on when a connection is lost, while its handler may still be at it.
  exclusion: 'none',
  // Acknowledgements on their way when a connection is lost are lost: a key begins again at the first one that did not arrive,
  // which may stand before the one that was open. First handlings are in order all the same.
  keyWaits: false,
  duplicates: 'after-faults',
  attempts: 'uncounted',
  atomicSends: false,
  atomicSettlements: false,
}

/** A run with everything written down that its processes saw. */
export class Run {
  readonly history: HistoryRecord[] = []
  readonly transports: RabbitMq[] = []
  /** Times that a transport noticed the loss of a connection. */
  losses = 0
  readonly #options: RabbitMqOptions
  #calls = 0

  constructor(options: RabbitMqOptions) {
    this.#options = options
  }

  write = (record: HistoryRecord): void => void this.history.push(record)

  /** A connected transport that writes down what it sees. `process`: its name in the history. */
  async transport(process: string, more: RabbitMqOptions = {}): Promise<Transport> {
    const bare = new RabbitMq(resolveOptions({ ...this.#options, ...more }))
    this.transports.push(bare)
    await bare.connect({
      bus: 'chaos',
      instanceId: process,
      clock: systemClock,
      logger: silentLogger,
      onState: state => void (this.losses += state === 'reconnecting' ? 1 : 0),
    })
    this.write({ as: 'born', process, at: machineClock.monotonic() })
    return journalled(bare as unknown as Transport, { process, write: this.write })
  }

  fault(): void {
    this.write({ as: 'cut', at: machineClock.monotonic() })
  }

  message(queue: string, key?: string): OutgoingMessage {
    const id = `m${++this.#calls}`
    return {
      id,
      to: { queue },
      attributes: { id, type: 'chaos', source: '/chaos' },
      headers: {},
      body: Buffer.from(`{"n":${this.#calls}}`),
      priority: 4,
      mandatory: true,
      ...(key === undefined ? {} : { key }),
    }
  }

  /** Nothing promised was broken. */
  check(): void {
    expect(checkHistory(this.history, promises)).toEqual([])
  }

  async close(): Promise<void> {
    await Promise.all(this.transports.map(transport => transport.close()))
  }
}

/** Waits until `holds`, for the reader of a failure with what was seen last. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  what: () => string,
  patienceMs = 90_000,
): Promise<void> {
  const giveUpAt = performance.now() + patienceMs
  while (!(await holds())) {
    if (performance.now() > giveUpAt) throw new Error(`not within ${patienceMs} ms: ${what()}`)
    await sleep(20)
  }
}

/** Receives and acknowledges, remembering which ids were handled. */
export async function acknowledging(
  transport: Transport,
  queue: string,
  handled: Set<string>,
  options: { orderBy?: 'none' | 'queue' | 'key'; maxInFlight?: number; workMs?: number } = {},
): Promise<Receiver> {
  const { orderBy = 'none', maxInFlight = 50, workMs = 1 } = options
  return transport.receive(
    queue,
    async (delivery): Promise<Settlement> => {
      await sleep(workMs)
      if (!delivery.signal.aborted) handled.add(delivery.id)
      return { as: 'ack' }
    },
    { maxInFlight, orderBy },
  )
}
