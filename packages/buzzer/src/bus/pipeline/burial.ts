import { BuzzerError } from '../../message/index.ts'
import type { StateChange } from '../../store/index.ts'
import type { OutgoingMessage, Settlement } from '../../transport/index.ts'
import type { BusCore } from '../bus-core.ts'
import { asDetail, askedReason, recordFailure } from '../dead-letter.ts'
import { faultMessage } from '../fault-message.ts'
import type { Route } from '../handler.ts'
import { faultAnswer } from '../request.ts'
import type { ResolvedRetry } from '../retry-policy.ts'
import type { Incoming } from './incoming.ts'
import type { QueueView } from './queue-view.ts'
import { acknowledged, released, settleFailure, settleStep } from './settle.ts'

const none: readonly never[] = Object.freeze([])

type Followers = (() => Promise<readonly StateChange[]>) | undefined

/** Why a message is given up. */
export interface Death {
  readonly reason: string
  readonly error: unknown
  /** The last `ctx.attempt`; 0 when no handler ran. */
  readonly attempts: number
  readonly changes: readonly StateChange[]
  readonly followers: Followers
}

/** To the dead letters, with a fault event. A request is answered instead: its caller gets the fault. */
export async function bury(
  core: BusCore,
  queue: QueueView,
  incoming: Incoming,
  route: Route | undefined,
  death: Death,
): Promise<{ readonly settlement: Settlement; readonly end: 'dead-letter' | 'discarded' }> {
  const { reason, error, attempts, changes, followers } = death
  const record = recordFailure(core, incoming.type, reason, attempts, error, askedReason(error)?.detail)
  if (incoming.attributes['messagekind'] === 'request' && incoming.attributes['replyto'] !== undefined) {
    const messages = [faultAnswer(core, queue.source, incoming, reason, record)]
    const step = { messages, changes, cancels: none, followers, inbox: undefined }
    // Whoever asked may be gone; then there is nobody left to tell.
    const settlement = await settleStep(core, { ...step, onRefused: () => acknowledged }).catch(() => acknowledged)
    return { settlement, end: 'discarded' }
  }
  core.telemetry?.deadLettered(queue.name, reason)
  await keepBody(core, queue, incoming)
  const fault = faultMessage(core, queue, incoming, route, reason, record)
  const failure = { as: 'dead-letter', reason, detail: asDetail(record), fault } as const
  return { settlement: await settleOrRelease(core, incoming, failure, changes, followers), end: 'dead-letter' }
}

/** The end of a message whose time to live has passed: discarded, or a dead letter without a fault. */
export async function expire(
  core: BusCore,
  queue: QueueView,
  incoming: Incoming,
  followers: Followers,
): Promise<Settlement> {
  core.telemetry?.expired(queue.name)
  if (queue.onExpired === 'dead-letter') {
    await keepBody(core, queue, incoming)
    const detail = asDetail(recordFailure(core, incoming.type, 'expired', 0, undefined))
    const failure = { as: 'dead-letter', reason: 'expired', detail, fault: undefined } as const
    return settleOrRelease(core, incoming, failure, none, followers)
  }
  return settleOr(acknowledged, core, { messages: none, changes: none, followers })
}

/** One step with what belongs to it; when it is refused, or cannot be had, `otherwise` alone. */
export function settleOr(
  otherwise: Settlement,
  core: BusCore,
  step: {
    readonly messages: readonly OutgoingMessage[]
    readonly changes: readonly StateChange[]
    readonly followers: Followers
  },
): Promise<Settlement> {
  const whole = { ...step, cancels: none, inbox: undefined, onRefused: () => otherwise }
  return settleStep(core, whole).catch(() => otherwise)
}

/** What cannot be settled is given back, never lost. */
export async function settleOrRelease(
  core: BusCore,
  incoming: Incoming,
  failure: Parameters<typeof settleFailure>[2],
  changes: readonly StateChange[],
  followers: Followers,
): Promise<Settlement> {
  try {
    return await settleFailure(core, incoming, failure, changes, followers)
  } catch (error) {
    core.logger.error({ error, messageId: incoming.id }, 'settling a failed message failed; it is released')
    return released
  }
}

async function keepBody(core: BusCore, queue: QueueView, incoming: Incoming): Promise<void> {
  const { dataref } = incoming.attributes
  if (dataref === undefined) return
  await core.claimCheck?.keepFor(dataref, queue.deadLetterTtlMs).catch((error: unknown) => {
    core.logger.warn({ error, dataref }, 'the body of a dead letter may be swept before it')
  })
}

/** Delivered too often and never settled: this is the message that kills its process. */
export function neverSettled(incoming: Incoming, retry: ResolvedRetry): BuzzerError {
  return new BuzzerError(
    'BUZZER_HANDLER_TIMEOUT',
    `message ${incoming.id} was delivered ${incoming.round - 1} times and never settled; at most ${retry.maxDeliveries} are allowed`,
    { retryable: false, details: { maxDeliveries: retry.maxDeliveries } },
  )
}

export function noHandler(queue: QueueView, incoming: Incoming): BuzzerError {
  const what = incoming.type === undefined ? 'a message without type' : `a message of ${incoming.type}`
  return new BuzzerError('BUZZER_UNROUTABLE', `queue ${queue.name} has no handler for ${what}`, {
    details: { queue: queue.name, type: incoming.type },
  })
}
