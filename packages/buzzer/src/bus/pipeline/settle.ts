import { type BuzzerError, hasCode, type JsonObject } from '../../message/index.ts'
import type { StateChange } from '../../store/index.ts'
import { deadLetterQueue, type OutgoingMessage, type Settlement } from '../../transport/index.ts'
import { type BusCore, modeOf } from '../bus-core.ts'
import { needsSchedule } from '../sender.ts'
import { deadLetterHeaders } from '../admin/dead-letter-headers.ts'
import type { Incoming } from './incoming.ts'

/** What shall happen together with the acknowledgement. */
export interface Step {
  readonly messages: readonly OutgoingMessage[]
  readonly changes: readonly StateChange[]
  readonly cancels: readonly string[]
  /** The changes of those who follow the message; asked again when one of them met a newer version. */
  readonly followers: (() => Promise<readonly StateChange[]>) | undefined
  /** Written where a crash after the commit must not run the handler again (`stored`). */
  readonly inbox: (() => StateChange) | undefined
  /** The broker refused the settlement: nothing of it happened. A refusal before that rejects `settleStep`. */
  readonly onRefused: (error: BuzzerError) => Settlement | Promise<Settlement>
}

/** A plain acknowledgement; one object for all. */
export const acknowledged: Settlement = Object.freeze({ as: 'ack' })
export const released: Settlement = Object.freeze({ as: 'release' })

const none: readonly never[] = Object.freeze([])

/** A race between the store's followers ends, or something is wrong with one of them. */
const maxFollowerConflicts = 50

/**
 * Acknowledges with everything the step holds, as one as far as transport and store can (spec bus 4.9). Rejects when a step
 * that is not the broker's was refused; nothing of it happened then, and the slot is still held.
 */
export async function settleStep(core: BusCore, step: Step): Promise<Settlement> {
  const hasState = step.changes.length > 0 || step.followers !== undefined
  const scheduled = step.messages.some(message => needsSchedule(core, message))
  const mode = modeOf(core)
  if (mode === 'joint' && (core.jointStore || !(hasState || scheduled))) return settleJointly(core, step)
  if (mode === 'direct') return settleDirectly(core, step)
  if (step.messages.length > 0 || hasState) return settleThroughStore(core, step)
  await cancelAll(core, step.cancels)
  return acknowledged
}

async function settleJointly(core: BusCore, step: Step, conflicts = 0): Promise<Settlement> {
  const followed = step.followers === undefined ? none : await step.followers()
  const rows: StateChange[] = []
  const send: OutgoingMessage[] = []
  for (const message of step.messages) {
    if (core.storedSends !== undefined && needsSchedule(core, message)) rows.push(core.storedSends.row(message))
    else send.push(message)
  }
  const state = [...step.changes, ...rows, ...followed]
  const natively = core.capabilities.cancel === 'native'
  if (!natively) await cancelAll(core, step.cancels)
  if (rows.length > 0) core.storedSends?.wakeSoon()
  return {
    as: 'ack',
    ...(send.length === 0 ? {} : { send }),
    ...(state.length === 0 ? {} : { state }),
    ...(step.cancels.length === 0 || !natively ? {} : { cancel: step.cancels }),
    onRefused: error =>
      conflicts < maxFollowerConflicts && isConflictIn(error, followed)
        ? settleJointly(core, step, conflicts + 1)
        : step.onRefused(error),
  }
}

/** No store, no transaction: outputs are confirmed in order, then comes the acknowledgement. */
async function settleDirectly(core: BusCore, step: Step): Promise<Settlement> {
  await core.sender.sendAll(step.messages)
  await cancelAll(core, step.cancels)
  return acknowledged
}

/** One commit of the store, then the relay, then the acknowledgement. */
async function settleThroughStore(core: BusCore, step: Step, conflicts = 0): Promise<Settlement> {
  const { storedSends, store } = core
  if (storedSends === undefined || store === undefined) return settleDirectly(core, step)
  const followed = step.followers === undefined ? none : await step.followers()
  const inbox = step.inbox === undefined ? none : [step.inbox()]
  try {
    await storedSends.add(step.messages, { state: [...inbox, ...step.changes, ...followed], tx: undefined })
  } catch (error) {
    if (conflicts < maxFollowerConflicts && isConflictIn(error, followed)) {
      return settleThroughStore(core, step, conflicts + 1)
    }
    throw error
  }
  await storedSends.relayed()
  await cancelAll(core, step.cancels)
  return acknowledged
}

async function cancelAll(core: BusCore, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    if (core.capabilities.cancel === 'native') await core.transport.admin?.cancelScheduled?.(id)
    await core.storedSends?.cancel(id)
  }
}

/** Whether the refused change is one of `changes`, so that their author can be asked again. */
function isConflictIn(error: unknown, changes: readonly StateChange[]): boolean {
  if (!hasCode(error, 'BUZZER_CONFLICT')) return false
  const { collection, id } = (error as BuzzerError).details
  return changes.some(change => change.collection === collection && change.id === id)
}

/** `retry` or `dead-letter` with the changes of those who follow the message. */
export async function settleFailure(
  core: BusCore,
  incoming: Incoming,
  failure:
    | { readonly as: 'retry'; readonly delayMs: number }
    | {
        readonly as: 'dead-letter'
        readonly reason: string
        readonly detail: JsonObject
        readonly fault: OutgoingMessage | undefined
      },
  changes: readonly StateChange[],
  followers: (() => Promise<readonly StateChange[]>) | undefined,
  conflicts = 0,
): Promise<Settlement> {
  const followed = followers === undefined ? none : await followers()
  let state: readonly StateChange[] = [...changes, ...followed]
  if (state.length > 0 && !core.jointStore) {
    try {
      await core.store?.commit(state)
    } catch (error) {
      if (conflicts < maxFollowerConflicts && isConflictIn(error, followed)) {
        return settleFailure(core, incoming, failure, changes, followers, conflicts + 1)
      }
      core.logger.error(
        { error, messageId: incoming.id, queue: incoming.queue },
        'records of a failed message were not stored',
      )
    }
    state = none
  }
  const withState = state.length === 0 ? {} : { state }
  const again = (error: BuzzerError): Promise<Settlement> | undefined =>
    conflicts < maxFollowerConflicts && isConflictIn(error, followed)
      ? settleFailure(core, incoming, failure, changes, followers, conflicts + 1)
      : undefined
  if (failure.as === 'retry') {
    if (state.length === 0) return { as: 'retry', delayMs: failure.delayMs }
    return {
      as: 'retry',
      delayMs: failure.delayMs,
      ...withState,
      onRefused: error => again(error) ?? { as: 'retry', delayMs: failure.delayMs },
    }
  }
  if (core.capabilities.deadLetter === 'none') return deadLetterByCopy(core, incoming, failure, withState)
  const bare: Settlement = { as: 'dead-letter', reason: failure.reason, detail: failure.detail }
  // Neither a fault that cannot be sent nor a lost race may keep the message from the dead letters.
  const send = core.capabilities.transactions === 'none' ? none : failure.fault === undefined ? none : [failure.fault]
  if (failure.fault !== undefined && send.length === 0) sendFault(core, failure.fault)
  if (send.length === 0 && state.length === 0) return bare
  return {
    ...bare,
    ...(send.length === 0 ? {} : { send }),
    ...withState,
    onRefused: error => again(error) ?? withoutFault(core, failure.fault, { ...bare, ...withState }, error, bare),
  }
}

function withoutFault(
  core: BusCore,
  fault: OutgoingMessage | undefined,
  kept: Settlement,
  error: BuzzerError,
  bare: Settlement,
): Settlement {
  core.telemetry?.faultLost()
  core.logger.error(
    { error, faultId: fault?.id },
    'a fault event could not be sent; the message is dead-lettered without it',
  )
  return { ...kept, onRefused: () => bare } as Settlement
}

/** Sends a fault beside the settlement, where the broker cannot send it with the settlement. */
function sendFault(core: BusCore, fault: OutgoingMessage): void {
  core.sender.send(fault).catch((error: unknown) => {
    core.telemetry?.faultLost()
    core.logger.error(
      { error, faultId: fault.id },
      'a fault event could not be sent; the message is dead-lettered all the same',
    )
  })
}

/** No dead letters at the broker: same bytes and headers to `<queue>.dead`, and the acknowledgement after that is safe. */
async function deadLetterByCopy(
  core: BusCore,
  incoming: Incoming,
  failure: { readonly reason: string; readonly detail: JsonObject; readonly fault: OutgoingMessage | undefined },
  withState: { readonly state?: readonly StateChange[] },
): Promise<Settlement> {
  const { delivery } = incoming
  const copy: OutgoingMessage = {
    id: delivery.id,
    to: { queue: deadLetterQueue(delivery.queue) },
    attributes: delivery.attributes,
    headers: { ...delivery.headers, ...deadLetterHeaders(core, delivery.queue, failure.reason, failure.detail) },
    body: delivery.body,
    priority: delivery.priority,
    mandatory: true,
    ...(delivery.contentType === undefined ? {} : { contentType: delivery.contentType }),
    ...(delivery.key === undefined ? {} : { key: delivery.key }),
  }
  if (core.capabilities.transactions !== 'none') {
    const send = failure.fault === undefined ? [copy] : [copy, failure.fault]
    return {
      as: 'ack',
      send,
      ...withState,
      onRefused: () => ({ as: 'ack', send: [copy], ...withState, onRefused: () => released }),
    }
  }
  try {
    await core.sender.send(copy)
  } catch (error) {
    // Never acknowledged unsaved: it comes again.
    core.logger.error(
      { error, messageId: incoming.id, queue: delivery.queue },
      'dead-lettering failed; the message is released',
    )
    return released
  }
  if (failure.fault !== undefined) sendFault(core, failure.fault)
  return acknowledged
}
