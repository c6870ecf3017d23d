import type { DeadLetterInfo } from '../../transport/index.ts'
import { beginDeliver, endDeliver, writeDelivery } from '../protocol/index.ts'
import type { AsideRow } from '../storage/aside-store.ts'
import { mark } from '../storage/chunk-format.ts'
import type { Core } from './core.ts'
import { inFirstLayout, readsFirstLayout } from './first-protocol.ts'
import { bury, decodable, expire, expiryOf, type RecordPlace, readRecord } from './message-life.ts'
import type { Queue } from './queue.ts'
import type { Place } from './ready-order.ts'
import type { Receiver } from './session.ts'

/** Unsent bytes of one connection beyond which it gets no more deliveries. */
const maxUnsentBytes = 1024 * 1024

/** A run of deliveries to one receiver in the frame that its session gets after the commit. */
interface Run {
  readonly receiver: Receiver
  readonly start: number
  count: number
}

function endRun(run: Run | undefined): void {
  if (run !== undefined) endDeliver(run.receiver.session.out, run.start, run.count)
}

function continueRun(run: Run | undefined, receiver: Receiver): Run {
  if (run?.receiver === receiver) return run
  endRun(run)
  return { receiver, start: beginDeliver(receiver.session.out, receiver.id), count: 0 }
}

/** Whose turn it is among those that can take one more; `full` tells that only unsent bytes hold some back. */
function nextReceiver(queue: Queue, receivers: readonly Receiver[]): Receiver | 'saturated' | undefined {
  let saturated = false
  for (let tried = 0; tried < receivers.length; tried++) {
    const receiver = receivers[queue.turn % receivers.length] as Receiver
    queue.turn = (queue.turn + 1) % receivers.length
    if (receiver.state !== 'running' || receiver.inFlight >= receiver.maxInFlight) continue
    const { connection, out } = receiver.session
    if (connection === undefined) continue
    const buffered = connection.bufferedBytes
    if (buffered + out.length < maxUnsentBytes) return receiver
    // What waits in this frame leaves with the commit; what the other side has not read wakes us by `drained`.
    if (buffered < maxUnsentBytes) saturated = true
  }
  return saturated ? 'saturated' : undefined
}

/** Hands out what can be. Returns whether more could be once this frame has left. */
export function dispatch(core: Core, queue: Queue): boolean {
  const more = queue.receivers.length > 0 && dispatchMessages(core, queue)
  return (queue.deadReceivers.length > 0 && dispatchDead(core, queue)) || more
}

function dispatchMessages(core: Core, queue: Queue): boolean {
  let run: Run | undefined
  let more = false
  while (!core.deliveries.full) {
    const receiver = nextReceiver(queue, queue.receivers)
    if (receiver === undefined || receiver === 'saturated') {
      more = receiver === 'saturated'
      break
    }
    const taken = takeNext(core, queue)
    if (taken === undefined) break
    run = continueRun(run, receiver)
    run.count++
    deliver(core, queue, receiver, taken.place, taken.record)
  }
  endRun(run)
  return more
}

/** The next message that may really be delivered; ends those that may not. */
function takeNext(core: Core, queue: Queue): { place: Place; record: RecordPlace } | undefined {
  for (;;) {
    const place = queue.order.next()
    if (place === undefined) return undefined
    const { chunk, index } = place
    const word = chunk.marks[index] as number
    if ((word & mark.deaths) >= 2 * mark.deathUnit && queue.suspectsOpen > 0) {
      queue.waitingSuspects.push(place)
      continue
    }
    const record = readRecord(core, chunk, index)
    if (chunk.expires <= core.now && expiryOf(queue, chunk, record) <= core.now) {
      expire(core, queue, chunk, index, record, 'ready')
      queue.order.settled(chunk, index)
      continue
    }
    if (!record.intact) {
      core.counters.damaged++
      core.options.report('error', { queue: queue.name, sequence: chunk.id + index }, 'a stored message is damaged')
      bury(core, queue, chunk, index, 'ready', { reason: 'damaged', detail: undefined })
      queue.order.settled(chunk, index)
      continue
    }
    return { place, record }
  }
}

function firstRecord(record: RecordPlace): RecordPlace {
  const bytes = inFirstLayout(record.bytes, record.start)
  return { bytes, start: 0, end: bytes.length, intact: true }
}

function deliver(core: Core, queue: Queue, receiver: Receiver, place: Place, record: RecordPlace): void {
  const { chunk, index } = place
  const word = chunk.marks[index] as number
  const attempt = Math.min((word & mark.attempts) + 1, mark.attempts)
  const deaths = word & mark.deaths
  if (deaths >= 2 * mark.deathUnit) queue.suspectsOpen++
  chunk.marks[index] = attempt | deaths | mark.open | mark.ours
  chunk.open++
  core.touch(chunk)
  queue.counts.ready--
  queue.counts.locked++
  core.counters.delivered++
  const token = core.deliveries.add(receiver, chunk, index, record.end - record.start)
  const { out } = receiver.session
  const { bytes, start, end } = readsFirstLayout(receiver.session) ? firstRecord(record) : record
  writeDelivery(out, token, chunk.id + index, attempt, chunk.enqueuedAt, '', bytes, start, end)
}

/** The dead-letter facts of a row, as receivers and peek see them. */
/** `intact`: whether the bytes beside the row are those that were sent. */
export function deadLetterInfo(row: AsideRow, intact: boolean): DeadLetterInfo {
  return {
    reason: intact ? (row.reason ?? '') : 'damaged',
    ...(row.detail === null ? {} : { detail: JSON.parse(row.detail) as NonNullable<DeadLetterInfo['detail']> }),
    deadAt: row.deadAt ?? 0,
  }
}

const deadWindow = 64

/** `<queue>.dead`: read from the file as it goes; dead letters are rare. */
function dispatchDead(core: Core, queue: Queue): boolean {
  let run: Run | undefined
  let after = 0
  let window: AsideRow[] = []
  let more = false
  for (;;) {
    const receiver = nextReceiver(queue, queue.deadReceivers)
    if (receiver === undefined || receiver === 'saturated') {
      more = receiver === 'saturated'
      break
    }
    let row = window.shift()
    while (row !== undefined && queue.deadOpen.has(row.sequence)) row = window.shift()
    if (row === undefined) {
      window = core.aside.deliverable(queue.id, after, deadWindow)
      const last = window.at(-1)
      if (last === undefined) break
      after = last.sequence
      continue
    }
    const body = core.aside.body(row.sequence)
    if (body === undefined) continue
    core.file.begin()
    core.aside.countDeadDelivery(row.sequence, row.deadDeliveries + 1)
    queue.deadOpen.add(row.sequence)
    run = continueRun(run, receiver)
    run.count++
    const token = core.deliveries.add(receiver, undefined, row.sequence, row.bytes)
    const facts = JSON.stringify(deadLetterInfo(row, body.intact))
    const { session } = receiver
    const kept = body.intact ? body.record : decodable(body.record, row.sequence)
    const record = readsFirstLayout(session) ? inFirstLayout(kept, 0) : kept
    core.counters.delivered++
    const { out } = session
    writeDelivery(out, token, row.sequence, row.deadDeliveries + 1, row.enqueuedAt, facts, record, 0, record.length)
  }
  endRun(run)
  return more
}

/** A suspect is no longer open: the next one may go. */
export function suspectDone(queue: Queue): void {
  queue.suspectsOpen--
  const waiting = queue.waitingSuspects
  queue.waitingSuspects = []
  for (const { chunk, index } of waiting) {
    // Purged or expired while it waited: its key goes on.
    if ((chunk.marks[index] as number) & mark.gone) queue.order.settled(chunk, index)
    else queue.order.giveBack(chunk, index)
  }
}
