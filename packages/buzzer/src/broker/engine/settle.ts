import { BuzzerError } from '../../message/index.ts'
import type { StateChange } from '../../store/index.ts'
import {
  type ByteReader,
  type SettlementHead,
  readState,
  toWireError,
  type WireError,
  writeFailure,
  writeLockLost,
  writeResult,
  writeSendRefused,
} from '../protocol/index.ts'
import { mark } from '../storage/chunk-format.ts'
import type { Core } from './core.ts'
import { suspectDone } from './dispatch.ts'
import { applyPlan, cancelScheduled, checkQuotas, planMessages, planTogether } from './enqueue.ts'
import { bury, comeBack, type Ending, remove } from './message-life.ts'
import type { Receiver, Session } from './session.ts'

const lockLost = (token: number): BuzzerError =>
  new BuzzerError('BUZZER_LOCK_LOST', 'the lock of this delivery is lost: nothing of its settlement was applied', {
    details: { token },
  })

/** Applies state changes as part of the commit of the moment. @throws BUZZER_CONFLICT */
function applyState(core: Core, changes: readonly StateChange[]): void {
  if (changes.length === 0) return
  core.file.begin()
  core.records.commit(changes, core.now)
  for (const change of changes) {
    core.changedRecords.add(JSON.stringify([change.collection, change.id]))
    if (change.op === 'put' && change.expiresAt !== undefined) core.agenda.expiryAt(change.expiresAt)
  }
}

/** A send of a session: once, also when it is repeated after a reconnection. A refusal leaves no trace but its answer. */
export function acceptSend(core: Core, session: Session, sequence: number, count: number, reader: ByteReader): void {
  if (sequence <= session.lastSend) return
  try {
    const plan = planMessages(core, reader, count)
    applyState(core, readState(reader))
    applyPlan(core, plan)
    decided(session, sequence)
  } catch (error) {
    if (!(error instanceof BuzzerError) || error.code === 'BUZZER_PROTOCOL_MISMATCH') throw error
    refuseSend(session, sequence, toWireError(error))
  }
}

/** The file will say that this send is decided: only once it is. */
function decided(session: Session, sequence: number): void {
  session.lastSend = sequence
  session.dirty = true
}

export function refuseSend(session: Session, sequence: number, error: WireError): void {
  if (sequence <= session.lastSend) return
  decided(session, sequence)
  session.refused.push({ sequence, error })
  writeSendRefused(session.out, sequence, error)
}

/** A plain acknowledgement. */
export function ack(core: Core, session: Session, token: number): void {
  session.acks++
  const slot = core.deliveries.find(token, session)
  if (slot < 0 || core.deliveries.group(slot) !== undefined) writeLockLost(session.out, [token])
  else acknowledge(core, slot)
}

/** Removes the message of an open delivery. */
function acknowledge(core: Core, slot: number): void {
  const { deliveries } = core
  const { queue } = deliveries.receiver(slot)
  const chunk = deliveries.chunk(slot)
  const index = deliveries.index(slot)
  const bytes = deliveries.bytes(slot)
  core.counters.settled++
  deliveries.free(slot)
  core.toDispatch.add(queue)
  if (chunk === undefined) {
    core.file.begin()
    core.aside.delete(index)
    queue.deadOpen.delete(index)
    queue.counts.dead--
    queue.counts.bytes -= bytes
    core.liveBytes -= bytes
    return
  }
  const suspect = ((chunk.marks[index] as number) & mark.deaths) >= 2 * mark.deathUnit
  chunk.open--
  remove(core, queue, chunk, index, bytes, 'locked')
  queue.order.settled(chunk, index)
  if (suspect) suspectDone(queue)
}

/** An open delivery ends without being settled for good. */
export function endDelivery(core: Core, slot: number, ending: Ending, delayMs: number): void {
  const { deliveries } = core
  const group = deliveries.group(slot)
  if (group !== undefined) abandonGroup(core, group, slot)
  const { queue } = deliveries.receiver(slot)
  const chunk = deliveries.chunk(slot)
  const index = deliveries.index(slot)
  deliveries.free(slot)
  core.toDispatch.add(queue)
  if (chunk !== undefined) {
    const suspect = ((chunk.marks[index] as number) & mark.deaths) >= 2 * mark.deathUnit
    comeBack(core, queue, chunk, index, ending, delayMs)
    if (suspect) suspectDone(queue)
    return
  }
  const row = core.aside.get(2, index)
  if (ending !== 'release' && row !== undefined && row.deadDeliveries >= queue.settings.maxDeliveries) {
    core.file.begin()
    core.aside.keep(index)
    queue.deadOpen.delete(index)
  } else if (delayMs > 0) {
    core.deadReturns.push({ queue, sequence: index, at: core.monotonic + delayMs })
    core.agenda.watchAt(core.monotonic + delayMs)
  } else {
    if (ending === 'release' && row !== undefined) {
      core.file.begin()
      core.aside.countDeadDelivery(index, Math.max(0, row.deadDeliveries - 1))
    }
    queue.deadOpen.delete(index)
  }
}

/** Ends the deliveries that `wanted` accepts, and tells their session unless it is gone. */
export function endDeliveries(
  core: Core,
  session: Session,
  ending: Ending,
  wanted: (receiver: Receiver) => boolean,
): void {
  const tokens: number[] = []
  for (const slot of core.deliveries.slots(receiver => receiver.session === session && wanted(receiver))) {
    tokens.push(core.deliveries.token(slot))
    endDelivery(core, slot, ending, 0)
  }
  if (tokens.length === 0 || ending === 'release') return
  core.counters.locksLost += tokens.length
  if (session.connection !== undefined) writeLockLost(session.out, tokens)
}

/** A settlement with an answer. Refused, nothing of it is applied and the delivery stays open. */
export function settle(
  core: Core,
  session: Session,
  requestId: number,
  token: number,
  head: SettlementHead,
  count: number,
  reader: ByteReader,
): void {
  const slot = core.deliveries.find(token, session)
  if (slot < 0 || core.deliveries.group(slot) !== undefined) {
    writeFailure(session.out, requestId, toWireError(lockLost(token)))
    return
  }
  try {
    if (head.as === 'ack' && head.group !== undefined) {
      joinGroup(core, head.group, { session, requestId, slot, head, messages: reader, at: reader.at, count })
      return
    }
    const plan = planMessages(core, reader, count)
    applyState(core, ('state' in head ? head.state : undefined) ?? [])
    applyPlan(core, plan)
    applySettlement(core, slot, head)
    writeResult(session.out, requestId, null)
  } catch (error) {
    if (!(error instanceof BuzzerError)) throw error
    writeFailure(session.out, requestId, toWireError(error))
  }
}

/** What was planned and committed, done to the delivery itself. */
function applySettlement(core: Core, slot: number, head: SettlementHead): void {
  switch (head.as) {
    case 'ack':
      for (const messageId of head.cancel ?? []) cancelScheduled(core, messageId)
      acknowledge(core, slot)
      break
    case 'retry':
      endDelivery(core, slot, 'retry', Math.max(0, head.delayMs ?? 0))
      break
    case 'release':
      endDelivery(core, slot, 'release', 0)
      break
    case 'dead-letter':
      deadLetter(core, slot, head.reason, head.detail === undefined ? undefined : JSON.stringify(head.detail))
      break
    case 'park':
      park(core, slot)
      break
    default:
      head satisfies never
  }
}

function deadLetter(core: Core, slot: number, reason: string, detail: string | undefined): void {
  const { deliveries } = core
  const { queue } = deliveries.receiver(slot)
  const chunk = deliveries.chunk(slot)
  const index = deliveries.index(slot)
  core.counters.settled++
  deliveries.free(slot)
  core.toDispatch.add(queue)
  if (chunk === undefined) {
    core.file.begin()
    core.aside.keep(index)
    queue.deadOpen.delete(index)
    return
  }
  const suspect = ((chunk.marks[index] as number) & mark.deaths) >= 2 * mark.deathUnit
  chunk.open--
  bury(core, queue, chunk, index, 'locked', { reason, detail })
  queue.order.settled(chunk, index)
  if (suspect) suspectDone(queue)
}

function park(core: Core, slot: number): void {
  const { deliveries } = core
  const { queue } = deliveries.receiver(slot)
  const chunk = deliveries.chunk(slot)
  const index = deliveries.index(slot)
  if (chunk === undefined) {
    throw new BuzzerError('BUZZER_UNSUPPORTED', 'a dead letter cannot be parked: it is set aside already', {
      details: { queue: queue.name },
    })
  }
  core.counters.settled++
  deliveries.free(slot)
  core.toDispatch.add(queue)
  const word = chunk.marks[index] as number
  const suspect = (word & mark.deaths) >= 2 * mark.deathUnit
  chunk.open--
  chunk.marks[index] = (word & (mark.attempts | mark.deaths)) | mark.parked
  queue.counts.locked--
  queue.counts.parked++
  core.touch(chunk)
  queue.order.settled(chunk, index)
  if (suspect) suspectDone(queue)
}

/** One settlement of a group, kept until the last one has come. */
export interface GroupMember {
  readonly session: Session
  readonly requestId: number
  readonly slot: number
  readonly head: Extract<SettlementHead, { as: 'ack' }>
  /** Its messages lie here, from `at` on. */
  readonly messages: ByteReader
  readonly at: number
  readonly count: number
}

export interface Group {
  readonly size: number
  readonly members: GroupMember[]
}

function joinGroup(
  core: Core,
  { id, size }: { readonly id: string; readonly size: number },
  member: GroupMember,
): void {
  let group = core.groups.get(id)
  if (group === undefined) {
    if (!Number.isInteger(size) || size < 1) {
      throw new BuzzerError('BUZZER_INVALID_OPTION', `group ${id} has size ${size}: it is a whole number from 1`, {
        details: { group: id, size },
      })
    }
    group = { size, members: [] }
    core.groups.set(id, group)
  } else if (group.size !== size) {
    throw new BuzzerError('BUZZER_INVALID_OPTION', `group ${id} has ${group.size} settlements, one says ${size}`, {
      details: { group: id, size, expected: group.size },
    })
  }
  group.members.push(member)
  core.deliveries.setGroup(member.slot, id)
  if (group.members.length < group.size) return
  core.groups.delete(id)
  for (const { slot } of group.members) core.deliveries.setGroup(slot, undefined)
  applyGroup(core, group.members)
}

function applyGroup(core: Core, members: readonly GroupMember[]): void {
  try {
    const plans = planTogether(core, members)
    checkQuotas(plans.flat())
    applyState(
      core,
      members.flatMap(({ head }) => head.state ?? []),
    )
    for (const plan of plans) applyPlan(core, plan)
    for (const { slot, head } of members) applySettlement(core, slot, head)
    for (const { session, requestId } of members) writeResult(session.out, requestId, null)
  } catch (error) {
    if (!(error instanceof BuzzerError)) throw error
    for (const { session, requestId } of members) writeFailure(session.out, requestId, toWireError(error))
  }
}

/** A member lost its lock: the group can never be complete, so the others are refused and stay open. */
export function abandonGroup(core: Core, id: string, slot: number): void {
  const group = core.groups.get(id)
  if (group === undefined) return
  core.groups.delete(id)
  const error = toWireError(
    new BuzzerError('BUZZER_CONFLICT', `group ${id} cannot be completed: a delivery of it lost its lock`, {
      details: { group: id },
    }),
  )
  for (const member of group.members) {
    core.deliveries.setGroup(member.slot, undefined)
    if (member.slot !== slot) writeFailure(member.session.out, member.requestId, error)
  }
}
