import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Bus, createBus, defineEvent } from 'buzzer'
import type { OrderBy } from 'buzzer/transport'
import { Flow } from '../flow.ts'
import type { Timed } from '../paced.ts'
import { type Reading, reading, readingsOf, sequenceOf } from '../reading.ts'
import type { Contender } from '../suite.ts'
import { durabilityOf, embeddedTransport, openTransport, type TransportKind } from './transports.ts'

export const ReadingTaken = defineEvent<Reading>('bench.reading-taken')

export interface BuzzerOptions {
  /** Default: that of the transport. */
  readonly name?: string
  readonly transport: TransportKind
  readonly inFlight: number
  /** Handlers at once, and messages held by the receiver: the same figures that rivals get. */
  readonly concurrency: number
  readonly prefetch: number
  /** Queues that take turns, each bound to an event of its own. Default 1. */
  readonly queues?: number
  /** Order per key over so many keys. Default: none. */
  readonly keys?: number
  /** Bytes of each message's JSON. Default 200. */
  readonly bytes?: number
  /** Beside what is timed, so many messages of one key wait, whose handler takes 20 ms. Default 0. */
  readonly hot?: number
}

const hotFrom = 500_000_000
const hotHandlerMs = 20

/** Publisher and handlers in one process, through the whole bus; one `publish` per message. */
export function buzzer(options: BuzzerOptions): Contender {
  const { transport: kind, inFlight, concurrency, prefetch, queues = 1, keys, bytes, hot = 0 } = options
  return {
    name: options.name ?? kind,
    side: 'ours',
    durability: durabilityOf[kind],
    ...(bytes === undefined ? {} : { bytes }),
    async setup(context) {
      const opened = await openTransport(kind, context)
      const bus = createBus({ name: 'bench', transport: opened.transport })
      const events = Array.from({ length: queues }, (_, i) =>
        i === 0 ? ReadingTaken : defineEvent<Reading>(`bench.reading-taken-${i}`),
      )
      let published = 0
      const flow = new Flow({
        inFlight,
        ...(bytes === undefined ? {} : { message: readingsOf(bytes) }),
        publish([message]) {
          const at = published++
          const key = keys === undefined ? {} : { key: `key-${at % keys}` }
          return bus.publish(events[at % queues] as typeof ReadingTaken, message as Reading, key)
        },
      })
      const orderBy: OrderBy = keys === undefined ? 'none' : 'key'
      let hotLeft = hot
      const handle = (message: Reading): Promise<void> | void => {
        if (sequenceOf(message) < hotFrom) return flow.handled(message)
        hotLeft--
        return sleep(hotHandlerMs)
      }
      for (const [i, event] of events.entries())
        bus.queue(`readings-${i}`, { concurrency, prefetch, orderBy }).handle(event, handle)
      await bus.start()
      for (let i = 0; i < hot; i += 1_000)
        await Promise.all(
          Array.from({ length: Math.min(1_000, hot - i) }, (_, j) =>
            bus.publish(ReadingTaken, reading(hotFrom + i + j), { key: 'hot' }),
          ),
        )
      return {
        facts: async () => ({
          settings: `one publish per message, concurrency ${concurrency}, prefetch ${prefetch}`,
          ...(await opened.facts()),
        }),
        async run(n) {
          await flow.run(n)
          if (hot > 0 && hotLeft === 0) throw new Error('the hot key was handled before the round was over')
        },
        async teardown() {
          try {
            if (hot > 0) await opened.transport.admin?.purge?.('readings-0')
            await stopEmpty(bus)
          } finally {
            await opened[Symbol.asyncDispose]()
          }
        },
      }
    },
  }
}

/** Events at a steady pace on an otherwise idle bus: from the call of `publish` to the start of the handler. */
export function buzzerPaced(kind: TransportKind, timed: Timed): Contender {
  return {
    name: kind,
    side: 'ours',
    durability: durabilityOf[kind],
    async setup(context) {
      const { transport } = await openTransport(kind, context)
      const bus = createBus({ name: 'bench', transport })
      const rounds = timed(message => bus.publish(ReadingTaken, message))
      bus.queue('readings').handle(ReadingTaken, message => rounds.started(message))
      await bus.start()
      return { run: n => rounds.run(n), teardown: () => stopEmpty(bus) }
    },
  }
}

/** Stops, and makes sure that what was timed was also acknowledged: nothing may be left on the queues. */
export async function stopEmpty(bus: Bus): Promise<void> {
  for (let asked = 0; asked < 100; asked++) {
    const left = (await bus.admin.queues()).filter(({ ready, locked, dead }) => ready + locked + dead > 0)
    if (left.length === 0) break
    if (asked === 99) throw new Error(`left on the queues after the last round: ${JSON.stringify(left)}`)
    await sleep(20)
  }
  await bus.stop()
}

/** The messages that one commit of the engine takes under the load of `options`, in the mean of a short run. */
export async function engineBatch(options: BuzzerOptions, folder: string): Promise<number> {
  const { inFlight, concurrency, prefetch, bytes = 200 } = options
  const { transport } = await embeddedTransport(join(folder, 'bench.db'))
  const bus = createBus({ name: 'bench', transport })
  const flow = new Flow({
    inFlight,
    message: readingsOf(bytes),
    publish: ([message]) => bus.publish(ReadingTaken, message as Reading),
  })
  bus.queue('readings', { concurrency, prefetch }).handle(ReadingTaken, message => flow.handled(message))
  await bus.start()
  await flow.run(10 * inFlight)
  const before = await transport.admin.engine()
  await flow.run(20 * inFlight)
  const after = await transport.admin.engine()
  await stopEmpty(bus)
  return Math.max(1, Math.round((20 * inFlight) / (after.commits - before.commits)))
}
