import { BuzzerError, isBuzzerError, type Logger } from 'buzzer'
import type { OnDelivery, OutgoingMessage, Settlement } from 'buzzer/transport'
import type { OpenDelivery } from './open-delivery.ts'
import { unsupported } from './server-version.ts'

/** What settling needs beside the delivery itself. */
export interface SettlingHost {
  readonly logger: Logger
  /** Resolves when all are confirmed. */
  send(messages: readonly OutgoingMessage[]): Promise<void>
}

/** Hands a delivery to its receiver's function and does what the answer says. Never throws, never rejects. */
export function handle(open: OpenDelivery, onDelivery: OnDelivery, host: SettlingHost): void {
  let answer: Settlement | Promise<Settlement>
  try {
    answer = onDelivery(open)
  } catch (error) {
    failed(open, error, host)
    return
  }
  // The contract promises a promise; JavaScript does not.
  Promise.resolve(answer).then(
    settlement => settle(open, settlement, host),
    (error: unknown) => failed(open, error, host),
  )
}

/** A defect of the receiver's function: a counted retry, and a report. */
function failed(open: OpenDelivery, error: unknown, { logger }: SettlingHost): void {
  logger.error({ error, queue: open.queue, messageId: open.id }, 'onDelivery rejected; the message is retried')
  open.retry(0)
}

function settle(open: OpenDelivery, settlement: Settlement, host: SettlingHost): void {
  if (!open.isOpen) return
  switch (settlement?.as) {
    case 'ack': {
      const { send, state, cancel, group } = settlement
      if (state !== undefined && state.length > 0) return refuse(open, settlement, 'records in a settlement', host)
      if (cancel !== undefined && cancel.length > 0) return refuse(open, settlement, 'cancelling in a settlement', host)
      if (group !== undefined) return refuse(open, settlement, 'settlements in groups', host)
      if (send !== undefined && send.length > 0) return sendAndAck(open, settlement, send, host)
      open.ack()
      return
    }
    case 'retry':
      if (settlement.state !== undefined && settlement.state.length > 0) {
        return refuse(open, settlement, 'records in a settlement', host)
      }
      open.retry(settlement.delayMs ?? 0)
      return
    case 'dead-letter':
      return refuse(open, settlement, 'dead letters of its own', host)
    case 'release':
      open.release()
      return
    default:
      failed(
        open,
        new BuzzerError(
          'BUZZER_INVALID_OPTION',
          `onDelivery answered ${JSON.stringify(settlement)}, which is no settlement`,
        ),
        host,
      )
  }
}

/** Without transactions: the outputs are confirmed, then comes the acknowledgement. */
function sendAndAck(
  open: OpenDelivery,
  settlement: Settlement,
  messages: readonly OutgoingMessage[],
  host: SettlingHost,
): void {
  host.send(messages).then(
    () => open.ack(),
    (error: unknown) =>
      followRefusal(
        open,
        settlement,
        isBuzzerError(error)
          ? error
          : new BuzzerError('BUZZER_SEND_FAILED', 'an output was not sent', { cause: error }),
        host,
      ),
  )
}

/** The core never asks for what the capabilities deny; whoever does is told. */
function refuse(open: OpenDelivery, settlement: Settlement, feature: string, host: SettlingHost): void {
  followRefusal(
    open,
    settlement,
    unsupported(`there are no ${feature}; nearest alternative: the bus, with a store`, { feature }),
    host,
  )
}

/** Follows the settlement's own answer to a refusal; without one, a retry without delay. */
function followRefusal(open: OpenDelivery, settlement: Settlement, error: BuzzerError, host: SettlingHost): void {
  const onRefused = 'onRefused' in settlement ? settlement.onRefused : undefined
  if (onRefused === undefined) {
    host.logger.error(
      { error, queue: open.queue, messageId: open.id },
      `a delivery cannot be settled as ${settlement.as}; it is retried`,
    )
    open.retry(0)
    return
  }
  const answer = async (): Promise<Settlement> => await onRefused(error)
  answer().then(
    next => settle(open, next, host),
    (failure: unknown) => failed(open, failure, host),
  )
}
