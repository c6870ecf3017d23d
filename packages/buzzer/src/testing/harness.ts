import type { Bus, BusOptions } from '../bus/index.ts'
import { portOf } from '../bus/index.ts'
import {
  type AnyCommandContract,
  type AnyContract,
  type AnyEventContract,
  type AnyRequestContract,
  BuzzerError,
  consoleLogger,
  type In,
  type Out,
  silentLogger,
  systemClock,
} from '../message/index.ts'
import { createBus } from '../index.ts'
import type { Transport } from '../transport/index.ts'
import { memory, type MemoryBroker, type MemoryTransaction } from '../transport/transports/memory.ts'
import { untilIdle, untilStill, type Watched } from './idle.ts'
import { createProbe, type Probe } from './probe.ts'
import { type Happening, Recorder } from './recorder.ts'
import { type TraceNode, traceOf } from './trace.ts'
import { isVirtualClock, type VirtualClock, virtualClock } from './virtual-clock.ts'

export type HarnessOptions<A, B> = Partial<Omit<BusOptions<A, B>, 'clock'>> & {
  /**
   * `virtual`: time moves by `advance` alone; needs a transport that runs on the bus's clock (`memory()`, also behind
   * `faulty()`), else `BUZZER_UNSUPPORTED`. A clock made by `virtualClock()` may be given. Default: virtual where possible.
   */
  readonly clock?: 'virtual' | 'real' | VirtualClock
  /** Defines queues and handlers before the bus starts. */
  readonly configure: (bus: Bus<A | B>) => void
}

/** A started bus with eyes on it. Leave it with `await using`, or call `[Symbol.asyncDispose]()`: that stops the bus. */
export interface Harness<Tx = never> extends AsyncDisposable {
  readonly bus: Bus<Tx>
  readonly now: Date
  /**
   * Moves the virtual clock. Due timers fire one by one; after each, what it set going runs to its end. When it resolves the
   * bus is idle, unless what is left waits for a later time. `BUZZER_UNSUPPORTED` on a real clock.
   */
  advance(ms: number): Promise<void>
  /**
   * Resolves when nothing is ready, running, unsettled or unrelayed; what is scheduled for later does not count. Rejects
   * after `timeoutMs` of real time, saying what is left. Default 5,000.
   */
  idle(options?: { readonly timeoutMs?: number }): Promise<void>
  /** Events the broker accepted from this bus. */
  published<C extends AnyEventContract>(contract: C): Probe<In<C>>
  /** Commands and requests the broker accepted from this bus. */
  sent<C extends AnyCommandContract | AnyRequestContract>(contract: C): Probe<In<C>>
  /** Deliveries handled with success. */
  consumed<C extends AnyContract>(contract: C): Probe<Out<C>>
  /** Every run of a handler, failed ones with their error. */
  attempts<C extends AnyContract>(contract: C): Probe<Out<C>>
  deadLettered<C extends AnyContract>(contract: C): Probe<Out<C>>
  /** Who caused what, from one message on. */
  trace(messageId: string): TraceNode
}

/** How long nothing must move before only time can help: between two timers, and at the end of an `advance`. */
const stillMs = { between: 10, atEnd: 100 } as const

/**
 * Makes a bus, lets you configure it, starts it, and watches it. Default: `memory()` under a virtual clock, name `test`, and
 * no log lines unless the environment variable `BUZZER_LOG` is set. Source: spec bus 5.
 * Rejects as `bus.start()` does, and with `BUZZER_UNSUPPORTED` for a virtual clock on a transport with time of its own.
 */
export async function createHarness<A = MemoryTransaction, B = never>(
  options: HarnessOptions<A, B>,
): Promise<Harness<A | B>> {
  const { configure, clock: wanted, transport: given, ...rest } = options
  const transport = given ?? (memory() as unknown as Transport<A>)
  const broker = memoryBrokerOf(transport)
  const virtual = chooseClock(wanted, broker, transport.name)
  const clock = virtual ?? systemClock
  const recorder = new Recorder(clock)
  const bus = createBus<A, B>({
    name: 'test',
    logger: process.env['BUZZER_LOG'] === undefined ? silentLogger : consoleLogger(),
    ...rest,
    transport: recorder.watch(transport),
    clock,
  })
  const port = portOf(bus)
  port.observe(recorder)
  configure(bus)
  await bus.start()

  const watched: Watched = { port, recorder, transport, broker }
  const idle = (timeoutMs = 5_000): Promise<void> => untilIdle(watched, timeoutMs)
  const probe = <M>(
    contract: AnyContract,
    what: Happening['what'],
    described: string,
    accepts: (happening: Happening) => boolean = () => true,
  ): Probe<M> => createProbe<M>({ recorder, contract, what, described, accepts, idle })

  return {
    bus,
    get now() {
      return new Date(clock.now())
    },
    async advance(ms) {
      if (virtual === undefined) {
        throw new BuzzerError('BUZZER_UNSUPPORTED', 'this harness runs on the real clock, which nothing can advance', {
          details: { feature: 'advance' },
        })
      }
      await virtual.advance(ms, () => untilStill(watched, stillMs.between))
      await untilStill(watched, stillMs.atEnd)
    },
    idle: (idleOptions = {}) => idle(idleOptions.timeoutMs),
    published: contract => probe(contract, 'emitted', 'published', one => one.kind === 'event'),
    sent: contract => probe(contract, 'emitted', 'sent', one => one.kind !== 'event'),
    consumed: contract => probe(contract, 'consumed', 'consumed'),
    attempts: contract => probe(contract, 'attempted', 'attempted'),
    deadLettered: contract => probe(contract, 'dead-lettered', 'dead-lettered'),
    trace: messageId => traceOf(recorder.happenings, messageId),
    async [Symbol.asyncDispose]() {
      const stopping = bus.stop()
      if (virtual !== undefined) await passTimeUntil(stopping, virtual)
      await stopping
    },
  }
}

function chooseClock(
  wanted: 'virtual' | 'real' | VirtualClock | undefined,
  broker: MemoryBroker | undefined,
  transport: string,
): VirtualClock | undefined {
  if (wanted === 'real') return undefined
  if (broker === undefined) {
    if (wanted === undefined) return undefined
    throw new BuzzerError(
      'BUZZER_UNSUPPORTED',
      `transport ${transport} has time of its own; a virtual clock needs memory(). Nearest alternative: clock: 'real'`,
      { details: { transport, feature: 'virtual clock' } },
    )
  }
  const present = broker.clock
  if (present === undefined) return typeof wanted === 'object' ? wanted : virtualClock()
  // Buses that share a broker share its time.
  if (isVirtualClock(present) && (typeof wanted !== 'object' || wanted === present)) return present
  if (wanted === undefined) return undefined
  throw new BuzzerError(
    'BUZZER_UNSUPPORTED',
    `the memory broker runs on another clock already, that of a bus connected before. Nearest alternative: clock: 'real'`,
    { details: { transport, feature: 'virtual clock' } },
  )
}

/** The memory broker behind a transport, or behind what wraps it. */
function memoryBrokerOf(transport: Transport<unknown>): MemoryBroker | undefined {
  const { broker, inner } = transport as { broker?: MemoryBroker; inner?: Transport<unknown> }
  if (broker !== undefined && typeof broker.isQuiet === 'boolean') return broker
  return inner === undefined ? undefined : memoryBrokerOf(inner)
}

/** A stop that waits for a handler waits by the clock: let it pass as long as the stop is not done. */
async function passTimeUntil(stopping: Promise<void>, clock: VirtualClock): Promise<void> {
  const stopped = stopping.then(() => 'stopped' as const)
  while ((await Promise.race([stopped, still()])) === 'still') {
    const { nextAt } = clock
    if (nextAt !== undefined) await clock.advance(Math.max(0, nextAt - clock.now()))
  }
}

function still(): Promise<'still'> {
  return new Promise(resolve => setTimeout(() => resolve('still'), stillMs.between))
}
