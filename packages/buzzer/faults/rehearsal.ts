import { setTimeout as sleep } from 'node:timers/promises'
import { silentLogger, systemClock } from '../src/message/index.ts'
import { checkHistory, type HistoryRecord, journalled, machineClock, type Violation } from '../src/testing/index.ts'
import type { Delivery, Settlement, Transport } from '../src/transport/index.ts'
import { memory, memoryBroker, type MemoryBroker, type MemoryTransport } from '../src/transport/transports/memory.ts'
import { drainMsPerMessage, endRun } from './ending.ts'
import { consume, type Participation, produce } from './participation.ts'
import { randomFrom } from './random.ts'
import {
  answerTo,
  answerWithEffects,
  collection,
  deduplicationWindowMs,
  orderOf,
  queuesOf,
  topology,
} from './workload.ts'

/** Replaces parts of a transport; what it leaves out stays honest. */
export type Sabotage = (honest: MemoryTransport, scene: Scene) => Partial<Transport>

/** What the transports of one sabotaged broker share. */
export interface Scene {
  readonly broker: MemoryBroker
  readonly random: () => number
  readonly memory: Map<string, unknown>
  /** Transports that were closed in the middle of their work. */
  readonly closed: Set<MemoryTransport>
}

const sends = 250
/** What is honest needs milliseconds; only a run that never settles takes so long. */
const withinMs = 3_000

/**
 * The fault programme's workload in one process, on a broker in memory that may be sabotaged: two producers and two
 * consumers, of which one is closed in the middle of its handlers, and goes on to answer. Judged like every other run.
 */
export async function rehearse(seed: number, sabotage: Sabotage = () => ({})): Promise<readonly Violation[]> {
  const history: HistoryRecord[] = []
  const write = (record: HistoryRecord): void => void history.push(record)
  const random = randomFrom(seed)
  const scene: Scene = { broker: memoryBroker(), random, memory: new Map(), closed: new Set() }
  const over = new AbortController()

  const join = async (process: string): Promise<Participation & { readonly honest: MemoryTransport }> => {
    const honest = memory({ broker: scene.broker })
    const broken = { ...honest, ...sabotage(honest, scene) }
    const transport = journalled(broken, { process, write, queuesOf, deduplicationWindowMs })
    await transport.connect({ bus: 'b', instanceId: process, clock: systemClock, logger: silentLogger, onState() {} })
    await transport.declare(topology)
    write({ as: 'born', process, at: machineClock.monotonic() })
    return { process, transport, honest, admin: honest.admin, write, random, stop: over.signal }
  }
  const operator = await join('operator')
  await operator.honest.store.declare([{ name: collection, indexes: [] }])
  const producers = await Promise.all(['p1', 'p2'].map(join))
  const consumers = await Promise.all(['c1', 'c2'].map(join))
  const farewell = new Farewell()
  const [victim] = consumers
  await Promise.all(
    consumers.map(consumer =>
      consume(
        consumer === victim ? { ...consumer, answer: delivery => farewell.answer(delivery, consumer) } : consumer,
      ),
    ),
  )
  const producing = Promise.all(producers.map(producer => produce(producer, sends)))
  if (victim !== undefined) {
    await sleep(60)
    // A sabotaged broker may deliver nothing at all.
    await Promise.race([farewell.begun(), sleep(1_000)])
    write({ as: 'ended', process: victim.process, at: machineClock.monotonic() })
    scene.closed.add(victim.honest)
    await victim.honest.close()
    farewell.end()
  }
  await producing
  const broken = { ...operator.honest, ...sabotage(operator.honest, scene) }
  await endRun(
    { ...broken, admin: operator.honest.admin, store: operator.honest.store },
    write,
    () => history,
    withinMs,
  )
  over.abort()
  await Promise.all([operator, ...producers, ...consumers].map(({ honest }) => honest.close()))
  return checkHistory(history, { orderBy: orderOf, livesWithinMs: withinMs, drainMsPerMessage })
}

/** The last handling of the consumer that is closed: it is open at the close, and answers with effects after it. */
class Farewell {
  readonly #begun = Promise.withResolvers<void>()
  readonly #ended = Promise.withResolvers<void>()
  #state: 'none yet' | 'wanted' | 'open' = 'none yet'

  /** Resolves when a handling is open. */
  begun(): Promise<void> {
    this.#state = 'wanted'
    return this.#begun.promise
  }

  end(): void {
    this.#ended.resolve()
  }

  async answer(delivery: Delivery, { process, random }: Participation): Promise<Settlement> {
    if (this.#state !== 'wanted' || delivery.queue === 'results') return answerTo(delivery, process, random)
    this.#state = 'open'
    this.#begun.resolve()
    await this.#ended.promise
    return answerWithEffects(delivery, process, random)
  }
}
