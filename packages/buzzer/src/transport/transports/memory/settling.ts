import { BuzzerError, isBuzzerError } from '../../../message/index.ts'
import type { StateChange } from '../../../store/index.ts'
import type { OutgoingMessage, Settlement } from '../../index.ts'
import type { BrokerEngine } from './broker.ts'
import type { OpenDelivery } from './receiver.ts'
import { type Limits, tighter } from './shipments.ts'

type Ack = Extract<Settlement, { as: 'ack' }>

/** The broker's own addition to the contract's settlements: set aside until `admin.unpark`. Source: spec broker 4. */
export type MemorySettlement = Settlement | { readonly as: 'park' }

/** One delivery's part in a step. */
interface Part {
  readonly open: OpenDelivery
  readonly settlement: Ack
}

/** Settlements that wait for the rest of their group. An incomplete group is never applied; its locks end with their session. */
export class Groups {
  readonly #waiting = new Map<string, Part[]>()

  /** All parts when this one was the last, else undefined. */
  join(part: Part, id: string, size: number): readonly Part[] | undefined {
    const parts = (this.#waiting.get(id) ?? []).filter(isLocked)
    parts.push(part)
    if (parts.length < size) {
      this.#waiting.set(id, parts)
      return undefined
    }
    this.#waiting.delete(id)
    return parts
  }

  /** A part whose lock was lost will never come back under this lock. */
  leave(open: OpenDelivery): void {
    for (const [id, parts] of this.#waiting) {
      const rest = parts.filter(part => part.open !== open)
      if (rest.length === 0) this.#waiting.delete(id)
      else if (rest.length < parts.length) this.#waiting.set(id, rest)
    }
  }
}

/** Applies the settlement of a delivery that still holds its lock. */
export function applySettlement(broker: BrokerEngine, open: OpenDelivery, settlement: MemorySettlement): void {
  const { entry } = open
  switch (settlement?.as) {
    case 'ack': {
      const { group } = settlement
      if (group === undefined) {
        if (settlement.send !== undefined || settlement.state !== undefined || settlement.cancel !== undefined) {
          commitAcks(broker, [{ open, settlement }])
          return
        }
        entry.queue.remove(entry)
        break
      }
      const parts = broker.groups.join({ open, settlement }, group.id, group.size)
      if (parts !== undefined) commitAcks(broker, parts)
      return
    }
    case 'retry': {
      if (refused(broker, open, settlement, undefined, settlement.state)) return
      entry.queue.retry(entry, settlement.delayMs ?? 0, 'retry')
      break
    }
    case 'dead-letter': {
      if (refused(broker, open, settlement, settlement.send, settlement.state)) return
      entry.queue.deadLetter(entry, settlement.reason, settlement.detail)
      break
    }
    case 'release':
      entry.queue.release(entry)
      break
    case 'park':
      entry.queue.park(entry)
      break
    default:
      broker.failed(
        open,
        new BuzzerError(
          'BUZZER_INVALID_OPTION',
          `onDelivery answered ${JSON.stringify(settlement)}, which is no settlement`,
        ),
      )
      return
  }
  open.receiver.forget(open)
}

/** All acknowledgements with all they carry, in one step or not at all. */
function commitAcks(broker: BrokerEngine, parts: readonly Part[]): void {
  const error = attempt(
    broker,
    parts.map(part => broker.limitsOf(part.open.receiver)).reduce(tighter),
    parts.flatMap(part => part.settlement.send ?? []),
    parts.flatMap(part => part.settlement.state ?? []),
    parts.flatMap(part => part.settlement.cancel ?? []),
  )
  for (const { open, settlement } of parts) {
    if (error !== undefined) {
      followRefusal(broker, open, settlement, error)
      continue
    }
    open.entry.queue.remove(open.entry)
    open.receiver.forget(open)
  }
}

/** Sends, records and cancellations of a settlement. The error says why nothing of it was applied. */
function attempt(
  broker: BrokerEngine,
  limits: Limits,
  send: readonly OutgoingMessage[],
  state: readonly StateChange[],
  cancel: readonly string[],
): BuzzerError | undefined {
  if (send.length === 0 && state.length === 0 && cancel.length === 0) return undefined
  try {
    const shipments = broker.plan(send, limits)
    const now = broker.wall.now()
    broker.records.check(state, now)
    broker.records.apply(state, now)
    // Cancelled first, so that a handler may replace a schedule by one of the same id.
    for (const id of cancel) broker.cancelScheduled(id)
    broker.load(shipments)
    return undefined
  } catch (error) {
    return isBuzzerError(error)
      ? error
      : new BuzzerError('BUZZER_SEND_FAILED', 'the settlement could not be applied', { cause: error })
  }
}

function refused(
  broker: BrokerEngine,
  open: OpenDelivery,
  settlement: Settlement,
  send: readonly OutgoingMessage[] = [],
  state: readonly StateChange[] = [],
): boolean {
  const error = attempt(broker, broker.limitsOf(open.receiver), send, state, [])
  if (error !== undefined) followRefusal(broker, open, settlement, error)
  return error !== undefined
}

/** Follows the settlement's own answer to a refusal; without one, a retry without delay. */
function followRefusal(broker: BrokerEngine, open: OpenDelivery, settlement: Settlement, error: BuzzerError): void {
  const { entry, receiver } = open
  const fields = { error, queue: entry.queue.name, messageId: entry.message.id }
  const retry = (): void => {
    entry.queue.retry(entry, 0, 'retry')
    receiver.forget(open)
  }
  const onRefused = 'onRefused' in settlement ? settlement.onRefused : undefined
  if (onRefused === undefined) {
    broker.report(receiver, fields, `the broker refused to ${settlement.as} this delivery; the message is retried`)
    retry()
    return
  }
  const answer = async (): Promise<Settlement> => await onRefused(error)
  answer().then(
    next => broker.settle(open, next),
    (failure: unknown) => broker.failed(open, failure),
  )
}

function isLocked(part: Part): boolean {
  return part.open.entry.open === part.open
}
