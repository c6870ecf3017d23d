import { BuzzerError } from '../../message/index.ts'
import {
  type ByteReader,
  type MessagePlace,
  nextMessage,
  recordDeduplicationKey,
  recordDeliverAt,
  recordExpiresAt,
  recordFlags,
  recordHas,
  recordHeaderBytes,
  recordId,
  recordOverhead,
  recordPriority,
} from '../protocol/index.ts'
import { asideKinds } from '../storage/aside-store.ts'
import { seenHash } from '../storage/seen-store.ts'
import type { Core } from './core.ts'
import type { Queue } from './queue.ts'

/** One copy of one message on its way into one queue. */
interface Copy {
  /** Undefined: a scheduled publish, routed when due. */
  readonly queue: Queue | undefined
  readonly bytes: Buffer
  readonly start: number
  readonly end: number
  /** After `now`: scheduled. */
  readonly due: number
  readonly destination: string | undefined
  readonly seen: Uint8Array | undefined
}

/** The messages of one send or settlement, judged and not yet stored. */
export type Plan = readonly Copy[]

function unroutable(words: string, details: Readonly<Record<string, unknown>>): BuzzerError {
  return new BuzzerError('BUZZER_UNROUTABLE', words, { details })
}

const place: MessagePlace = { destinationStart: 0, destinationEnd: 0, recordStart: 0, recordEnd: 0 }

/**
 * Judges `count` messages: where each goes, and whether all of them may. Changes nothing, so that a refusal leaves no trace.
 * @throws BUZZER_UNROUTABLE, BUZZER_QUEUE_FULL, BUZZER_BROKER_FULL, BUZZER_DISK_FULL, BUZZER_MESSAGE_TOO_LARGE
 */
export function planMessages(core: Core, reader: ByteReader, count: number): Plan {
  plannedKeys.clear()
  return planMore(core, reader, count)
}

/** As `planMessages` for several steps that are one; the messages of each begin at `at`. */
export function planTogether(
  core: Core,
  steps: readonly { readonly messages: ByteReader; readonly at: number; readonly count: number }[],
): Plan[] {
  plannedKeys.clear()
  return steps.map(({ messages, at, count }) => {
    messages.at = at
    return planMore(core, messages, count)
  })
}

/** Queue and hash of the deduplication keys in the plan of the moment. One for all: a set for each send costs more than most sends. */
const plannedKeys = new Set<string>()

function planMore(core: Core, reader: ByteReader, count: number): Plan {
  const plan: Copy[] = []
  let limited = false
  let bytes = 0
  for (let left = count; left > 0; left--) {
    nextMessage(reader, place)
    const { recordStart: start, recordEnd: end } = place
    const source = reader.bytes
    checkSize(core, source, start, end)
    const { destinationStart, destinationEnd } = place
    const target = core.routes.target(source, destinationStart, destinationEnd)
    const deliverAt = recordDeliverAt(source, start) ?? 0
    const due = deliverAt > core.now ? deliverAt : 0
    if ('queue' in target) {
      const queue = core.queues.get(target.queue)
      if (queue === undefined) {
        throw unroutable(`queue ${JSON.stringify(target.queue)} does not exist; declare it before sending`, {
          queue: target.queue,
        })
      }
      if (addCopy(core, plan, queue, source, start, end, due)) bytes += end - start
      if (isLimited(queue)) limited = true
      continue
    }
    const queues = core.routes.accepting(target, source, start)
    if (queues.length === 0 && recordHas(source, start, recordFlags.mandatory)) {
      throw unroutable(`no queue is bound to topic ${JSON.stringify(target.topics[0])}, or none accepts the message`, {
        topic: target.topics[0],
        id: recordId(source, start),
      })
    }
    if (due > 0) {
      plan.push({
        queue: undefined,
        bytes: source,
        start,
        end,
        due,
        destination: source.toString('utf8', destinationStart, destinationEnd),
        seen: undefined,
      })
      bytes += end - start
      continue
    }
    for (const id of queues) {
      const queue = core.queuesById.get(id)
      if (queue === undefined) continue
      if (addCopy(core, plan, queue, source, start, end, 0)) bytes += end - start
      if (isLimited(queue)) limited = true
    }
  }
  if (plan.length > 0) checkBroker(core, bytes)
  if (limited) checkQuotas(plan)
  return plan
}

function checkSize(core: Core, bytes: Buffer, start: number, end: number): void {
  const { maxMessageBytes } = core.options
  if (end - start <= maxMessageBytes) return
  // Keys, id and the fixed part do not count, so look closer.
  const keyBytes = bytes.readUInt16LE(start + 6) + bytes.readUInt16LE(start + 8)
  const actualBytes = end - start - recordHeaderBytes - keyBytes - (bytes[start + 10] as number)
  if (actualBytes - recordOverhead(bytes, start) <= maxMessageBytes) return
  throw new BuzzerError(
    'BUZZER_MESSAGE_TOO_LARGE',
    `message ${recordId(bytes, start)} has about ${actualBytes} bytes; this broker accepts ${maxMessageBytes}`,
    { details: { actualBytes, limitBytes: maxMessageBytes } },
  )
}

function addCopy(
  core: Core,
  plan: Copy[],
  queue: Queue,
  bytes: Buffer,
  start: number,
  end: number,
  due: number,
): boolean {
  const windowMs = queue.settings.deduplicationWindowMs
  let seen: Uint8Array | undefined
  if (windowMs > 0) {
    const key = recordDeduplicationKey(bytes, start)
    if (key !== undefined) {
      const hash = seenHash(key)
      const name = `${queue.id} ${hash.toString('latin1')}`
      if (plannedKeys.has(name) || core.seen.has(queue.id, hash, windowMs, core.now)) return false
      plannedKeys.add(name)
      seen = hash
    }
  }
  plan.push({ queue, bytes, start, end, due, destination: undefined, seen })
  return true
}

function isLimited(queue: Queue): boolean {
  return queue.settings.maxMessages !== Number.POSITIVE_INFINITY || queue.settings.maxBytes !== Number.POSITIVE_INFINITY
}

/** @throws BUZZER_DISK_FULL, BUZZER_BROKER_FULL */
export function checkBroker(core: Core, bytes: number): void {
  if (core.monotonic < core.diskFullUntil) {
    throw new BuzzerError('BUZZER_DISK_FULL', 'the disk of the broker is full: nothing was stored; free some space', {
      details: { path: core.options.path },
    })
  }
  const limit = core.options.maxFileBytes
  if (core.liveBytes + bytes <= limit) return
  throw new BuzzerError(
    'BUZZER_BROKER_FULL',
    `the broker holds ${core.liveBytes} bytes of messages; ${bytes} more would pass maxFileBytes ${limit}. Receivers are behind`,
    { details: { limit, size: core.liveBytes, bytes } },
  )
}

/** @throws BUZZER_QUEUE_FULL when the copies together pass a limit of their queue */
export function checkQuotas(plan: Plan): void {
  const added = new Map<Queue, { messages: number; bytes: number }>()
  for (const { queue, start, end } of plan) {
    if (queue === undefined || !isLimited(queue)) continue
    let sum = added.get(queue)
    if (sum === undefined) {
      sum = { messages: 0, bytes: 0 }
      added.set(queue, sum)
    }
    sum.messages++
    sum.bytes += end - start
  }
  for (const [queue, { messages, bytes }] of added) {
    const { maxMessages, maxBytes } = queue.settings
    if (queue.total + messages > maxMessages) throw queueFull(queue, 'maxMessages', maxMessages, queue.total)
    if (queue.counts.bytes + bytes > maxBytes) throw queueFull(queue, 'maxBytes', maxBytes, queue.counts.bytes)
  }
}

function queueFull(queue: Queue, option: 'maxMessages' | 'maxBytes', limit: number, size: number): BuzzerError {
  return new BuzzerError(
    'BUZZER_QUEUE_FULL',
    `queue ${JSON.stringify(queue.name)} is full: ${option} is ${limit}, it holds ${size}; nothing was stored`,
    { details: { queue: queue.name, option, limit, size } },
  )
}

/** Stores what was planned. Nothing can refuse it any more. */
export function applyPlan(core: Core, plan: Plan): void {
  for (const copy of plan) {
    const { queue, bytes, start, end, due, seen } = copy
    core.counters.sent++
    if (queue !== undefined) {
      queue.usedAt = core.monotonic
      if (seen !== undefined) {
        core.file.begin()
        core.seen.note(queue.id, seen, queue.settings.deduplicationWindowMs, core.now)
      }
      queue.counts.bytes += end - start
    }
    core.liveBytes += end - start
    if (due > 0) schedule(core, copy)
    else if (queue !== undefined) {
      queue.counts.ready++
      core.builder(queue, recordPriority(bytes, start)).add(bytes, start, end)
    }
  }
}

function schedule(core: Core, copy: Copy): void {
  const { queue, bytes, start, end, due, destination } = copy
  const expiresAt = recordExpiresAt(bytes, start)
  core.file.begin()
  core.aside.insert(
    asideKinds.scheduled,
    {
      sequence: core.takeSequences(1),
      queue: queue?.id ?? 0,
      messageId: recordId(bytes, start),
      enqueuedAt: core.now,
      due,
      expires: expiresAt ?? null,
      bytes: end - start,
      destination: destination ?? null,
      attempts: 0,
      reason: null,
      detail: null,
      deadAt: null,
      deadDeliveries: 0,
      kept: 0,
    },
    Buffer.from(bytes.subarray(start, end)),
  )
  core.writtenBytes += end - start + 512
  if (queue !== undefined) queue.counts.scheduled++
  core.agenda.dueAt(due)
  if (expiresAt !== undefined) core.agenda.expiryAt(expiresAt)
}

/** Puts a record that is in the file already at the end of a queue: scheduled ones that are due, redriven ones. */
export function enqueueRecord(core: Core, queue: Queue, record: Buffer): void {
  queue.counts.ready++
  queue.counts.bytes += record.length
  core.liveBytes += record.length
  core.builder(queue, recordPriority(record, 0)).add(record, 0, record.length)
}

/** Ends the schedules of a message id. True when one was still scheduled. */
export function cancelScheduled(core: Core, messageId: string): boolean {
  let cancelled = false
  for (const row of core.aside.scheduled(messageId)) {
    if (row.due === null || row.due <= core.now) continue
    const queue = core.queuesById.get(row.queue)
    core.file.begin()
    if (queue !== undefined && queue.settings.deduplicationWindowMs > 0) {
      const record = core.aside.body(row.sequence)?.record
      const key = record === undefined ? undefined : recordDeduplicationKey(record, 0)
      if (key !== undefined) core.seen.forget(queue.id, seenHash(key), queue.settings.deduplicationWindowMs, core.now)
    }
    core.aside.delete(row.sequence)
    core.liveBytes -= row.bytes
    if (queue !== undefined) {
      queue.counts.scheduled--
      queue.counts.bytes -= row.bytes
    }
    cancelled = true
  }
  return cancelled
}
