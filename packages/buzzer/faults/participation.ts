import { setTimeout as sleep } from 'node:timers/promises'
import type { HistoryRecord } from '../src/testing/index.ts'
import { machineClock } from '../src/testing/index.ts'
import type { Delivery, Receiver, Settlement, Transport, TransportAdmin } from '../src/transport/index.ts'
import { answerTo, nextSending, queueNames, topology } from './workload.ts'

/** What a producer or a consumer of a run does; in a process of its own or in the test's. */
export interface Participation {
  readonly process: string
  /** Journalled. */
  readonly transport: Pick<Transport, 'send' | 'receive'>
  readonly admin: Required<Pick<TransportAdmin, 'cancelScheduled'>>
  readonly write: (record: HistoryRecord) => void
  readonly random: () => number
  readonly stop: AbortSignal
  /** What its handlers answer. Default `answerTo`. */
  readonly answer?: (delivery: Delivery) => Settlement | Promise<Settlement>
}

/** Calls of one producer at a time; each is a lane with a key of its own. */
const lanes = 16
/** A lane rests after each send, at most so long: what is sent can be handled, on a busy machine too. */
const restMs = 40
/** Part of the handlings that take their time, and how much at most. */
const slowPart = 0.15
const slowMs = 20

/** Sends until it is told to stop, or `limit` sends were made. A rejected send is a matter for the history. */
export async function produce(participation: Participation, limit = Infinity): Promise<void> {
  const { process, transport, random, stop } = participation
  let number = 0
  const isOver = (): boolean => stop.aborted || number >= limit
  await Promise.all(
    Array.from({ length: lanes }, async (_, lane) => {
      while (!isOver()) {
        const { messages, options, cancel } = nextSending(process, lane, number++, machineClock.now(), random)
        const isStored = await transport.send(messages, options).then(
          () => true,
          () => false,
        )
        if (cancel !== undefined && isStored) await cancelOne(participation, number, cancel)
        await sleep(random() * restMs)
      }
    }),
  )
}

async function cancelOne({ process, admin, write }: Participation, call: number, id: string): Promise<void> {
  const facts = { process, call }
  write({ as: 'operation', at: machineClock.monotonic(), ...facts, op: 'cancel', queue: 'orders', ids: [id] })
  const outcome = await admin.cancelScheduled(id).then(
    isCancelled => (isCancelled ? ('ok' as const) : ('fail' as const)),
    () => 'unknown' as const,
  )
  write({ as: 'operated', at: machineClock.monotonic(), ...facts, outcome })
}

/** Receives from every queue; the receivers are the caller's to stop. */
export async function consume(participation: Participation): Promise<readonly Receiver[]> {
  const { process, transport, random } = participation
  const answer = participation.answer ?? ((delivery: Delivery) => answerTo(delivery, process, random))
  return Promise.all(
    queueNames.map(queue =>
      transport.receive(
        queue,
        async delivery => {
          if (random() < slowPart) await sleep(random() * slowMs)
          return answer(delivery)
        },
        { maxInFlight: 32, orderBy: topology.queues.find(({ name }) => name === queue)?.orderBy ?? 'none' },
      ),
    ),
  )
}
