import { createHash } from 'node:crypto'
import { BuzzerError, isBuzzerError } from '../../message/index.ts'
import type {
  Delivery,
  OnDelivery,
  OutgoingMessage,
  Receiver,
  SendOptions,
  Settlement,
  Transport,
} from '../../transport/index.ts'
import type { StateChange } from '../../store/index.ts'
import type { HistoryMessage, HistoryRecord, Outcome } from './history-record.ts'
import { type HistoryClock, machineClock } from './journal.ts'

export interface JournalledOptions {
  /** Name of this process in the history; used once in the run. */
  readonly process: string
  readonly write: (record: HistoryRecord) => void
  /** The queues that must get a message to a topic. Without it such a message is refused. */
  readonly queuesOf?: (message: OutgoingMessage) => readonly string[]
  /** Of the queue that a message goes to. Default: no queue deduplicates. */
  readonly deduplicationWindowMs?: (queue: string) => number
  /** Default: the machine's. */
  readonly clock?: HistoryClock
}

/** Codes with which a send says that nothing was stored. Any other rejection leaves the outcome unknown. */
const refusals: ReadonlySet<string> = new Set([
  'BUZZER_INVALID_MESSAGE',
  'BUZZER_MESSAGE_TOO_LARGE',
  'BUZZER_UNROUTABLE',
  'BUZZER_UNSUPPORTED',
  'BUZZER_QUEUE_FULL',
  'BUZZER_BROKER_FULL',
  'BUZZER_DISK_FULL',
  'BUZZER_CONFLICT',
])

/**
 * The transport, with every send, delivery, settlement and lost lock written into a history for `checkHistory`. Nothing
 * else changes, except that a refused settlement is always asked about, so that the refusal can be written down.
 */
export function journalled<Tx>(transport: Transport<Tx>, options: JournalledOptions): Transport<Tx> {
  const { process, write, clock = machineClock } = options
  let calls = 0
  return {
    ...transport,
    name: transport.name,
    get capabilities() {
      return transport.capabilities
    },
    connect: context => transport.connect(context),
    declare: topology => transport.declare(topology),
    async send(messages: readonly OutgoingMessage[], sendOptions?: SendOptions<Tx>) {
      const call = ++calls
      const records = recordsIn(sendOptions?.state)
      const sent = messages.map(message => historyMessages(message, options))
      write({ as: 'send', process, at: clock.monotonic(), call, messages: sent.flat(), ...records })
      const ended = (outcome: Outcome, outcomes?: readonly Outcome[]): void =>
        write({
          as: 'sent',
          process,
          at: clock.monotonic(),
          wall: clock.now(),
          call,
          outcome,
          ...(outcomes === undefined ? {} : { outcomes }),
        })
      try {
        await transport.send(messages, sendOptions)
      } catch (error) {
        const results = resultsOf(error)
        // One result a message, one record a copy.
        const outcomes = results?.flatMap((result, index) => (sent[index] ?? []).map(() => result))
        ended(outcomeOf(error), outcomes)
        throw error
      }
      ended('ok')
    },
    receive: (queue, onDelivery, receiveOptions): Promise<Receiver> =>
      transport.receive(queue, delivery => handle(delivery, onDelivery, options), receiveOptions),
    close: () => transport.close(),
    ...(transport.admin === undefined ? {} : { admin: transport.admin }),
    ...(transport.store === undefined ? {} : { store: transport.store }),
  }
}

/** A digest of all that must arrive byte for byte: body, content type, headers, attributes (without the broker's `redrives`). */
export function digestOf({
  body,
  contentType = '',
  headers,
  attributes,
}: Pick<OutgoingMessage, 'body' | 'contentType' | 'headers' | 'attributes'>): string {
  return createHash('sha1')
    .update(JSON.stringify([contentType, sorted(headers), sorted(attributes)]))
    .update(body)
    .digest('base64')
}

function sorted(fields: Readonly<Record<string, string>>): unknown {
  return Object.entries(fields)
    .filter(([name]) => name !== 'redrives')
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
}

async function handle(
  delivery: Delivery,
  onDelivery: OnDelivery,
  { process, write, queuesOf, clock = machineClock, deduplicationWindowMs }: JournalledOptions,
): Promise<Settlement> {
  const { id, queue, attempt, key } = delivery
  const facts = { process, id, queue, attempt }
  write({
    as: 'begun',
    at: clock.monotonic(),
    wall: clock.now(),
    ...facts,
    hash: digestOf(delivery),
    ...(key === undefined ? {} : { key }),
  })
  const lost = (): void => write({ as: 'lost', at: clock.monotonic(), ...facts })
  delivery.signal.addEventListener('abort', lost, { once: true })
  const told = (settlement: Settlement): Settlement => {
    const { as: how } = settlement
    const routing = { ...(queuesOf && { queuesOf }), ...(deduplicationWindowMs && { deduplicationWindowMs }) }
    write({
      as: 'answered',
      at: clock.monotonic(),
      ...facts,
      how,
      ...(how === 'retry' && settlement.delayMs !== undefined ? { delayMs: settlement.delayMs } : {}),
      ...(how === 'release' ? {} : recordsIn(settlement.state)),
      ...((how === 'ack' || how === 'dead-letter') && settlement.send !== undefined
        ? { outputs: settlement.send.flatMap(message => historyMessages(message, routing)) }
        : {}),
      ...(how === 'ack' && settlement.group !== undefined ? { group: settlement.group } : {}),
    })
    if (how !== 'ack' && how !== 'retry' && how !== 'dead-letter') return settlement
    const { onRefused } = settlement
    return {
      ...settlement,
      async onRefused(error) {
        write({ as: 'refused', at: clock.monotonic(), ...facts })
        return told((await onRefused?.(error)) ?? { as: 'retry' })
      },
    }
  }
  try {
    return told(await onDelivery(delivery))
  } catch (error) {
    // A rejection is a counted retry: the contract's word.
    write({ as: 'answered', at: clock.monotonic(), ...facts, how: 'retry' })
    throw error
  } finally {
    delivery.signal.removeEventListener('abort', lost)
  }
}

function historyMessages(
  message: OutgoingMessage,
  { queuesOf, deduplicationWindowMs }: Pick<JournalledOptions, 'queuesOf' | 'deduplicationWindowMs'>,
): readonly HistoryMessage[] {
  const { id, to, key, deliverAt, expiresAt, deduplicationKey } = message
  if (!('queue' in to) && queuesOf === undefined) {
    throw new BuzzerError('BUZZER_INVALID_OPTION', `journalled: message ${id} goes to topic ${to.topic}: give queuesOf`)
  }
  const queues = 'queue' in to ? [to.queue] : (queuesOf?.(message) ?? [])
  return queues.map(queue => {
    const windowMs = deduplicationWindowMs?.(queue) ?? 0
    return {
      id,
      queue,
      hash: digestOf(message),
      ...(key === undefined ? {} : { key }),
      ...(deliverAt === undefined ? {} : { due: deliverAt }),
      ...(expiresAt === undefined ? {} : { expires: expiresAt }),
      ...(deduplicationKey === undefined || windowMs === 0 ? {} : { deduplicate: { key: deduplicationKey, windowMs } }),
    }
  })
}

function recordsIn(state: readonly StateChange[] | undefined): { records?: readonly string[] } {
  const written = (state ?? []).flatMap(change => (change.op === 'put' ? [`${change.collection}/${change.id}`] : []))
  return written.length === 0 ? {} : { records: written }
}

function outcomeOf(error: unknown): Outcome {
  if (!isBuzzerError(error)) return 'unknown'
  return refusals.has(error.code) || error.details['outcome'] === 'not-stored' ? 'fail' : 'unknown'
}

/** Where a broker accepts parts of an array, it says of each message: `stored`, `not-stored` or `unknown`. */
function resultsOf(error: unknown): readonly Outcome[] | undefined {
  const results: unknown = isBuzzerError(error) ? error.details['results'] : undefined
  if (!Array.isArray(results)) return undefined
  return results.map((result: unknown): Outcome => {
    if (result === 'stored') return 'ok'
    return result === 'not-stored' ? 'fail' : 'unknown'
  })
}
