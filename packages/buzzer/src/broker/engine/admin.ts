import { BuzzerError } from '../../message/index.ts'
import type { MessageState, QueueFigures } from '../../transport/index.ts'
import { type AdminRequest, ByteWriter, decodeMessage, encodeMessage } from '../protocol/index.ts'
import { type AsideRow, asideKinds } from '../storage/aside-store.ts'
import { mark } from '../storage/chunk-format.ts'
import type { BesideRequest } from './beside.ts'
import type { Core } from './core.ts'
import { cancelScheduled, enqueueRecord } from './enqueue.ts'
import { readRecord, remove } from './message-life.ts'
import { peek, stateOf } from './peek.ts'
import type { Queue } from './queue.ts'
import { makeBinding } from './routes.ts'
import { engineStats } from './stats.ts'
import { alter, bind, deleteQueue, findQueue, unbind } from './topology.ts'

const states: readonly MessageState[] = ['ready', 'locked', 'scheduled', 'parked', 'dead']
const deadSuffix = '.dead'

/** Answers an administrator's call; the value goes over the wire as JSON. */
export function administer(core: Core, request: Exclude<AdminRequest, BesideRequest>): unknown {
  core.flush()
  switch (request.method) {
    case 'queues':
      return [...core.queues.values()].map(queue => figures(core, queue))
    case 'queue': {
      const dead = deadOf(core, request.queue)
      return dead === undefined ? figures(core, findQueue(core, request.queue)) : deadFigures(dead)
    }
    case 'peek': {
      const { state, after, limit } = request.options ?? {}
      const dead = deadOf(core, request.queue)
      const queue = dead ?? findQueue(core, request.queue)
      const wanted = dead === undefined ? wantedStates(state) : (['dead'] as const)
      return peek(
        core,
        queue,
        wanted,
        after === undefined ? -1 : toSequence(after),
        Math.min(Math.max(1, limit ?? 50), 1_000),
      )
    }
    case 'purge': {
      const { state, before } = request.options ?? {}
      const dead = deadOf(core, request.queue)
      const queue = dead ?? findQueue(core, request.queue)
      return purge(core, queue, dead === undefined ? (state ?? 'ready') : 'dead', before ?? Number.POSITIVE_INFINITY)
    }
    case 'redrive': {
      const queue = deadOf(core, request.queue) ?? findQueue(core, request.queue)
      const { ids, limit, to } = request.options ?? {}
      return redrive(
        core,
        queue,
        ids,
        limit ?? Number.POSITIVE_INFINITY,
        to === undefined ? queue : findQueue(core, to),
      )
    }
    case 'deleteDead': {
      const queue = deadOf(core, request.queue) ?? findQueue(core, request.queue)
      return eachDead(core, queue, request.options?.ids, Number.POSITIVE_INFINITY, row => dropDead(core, queue, row))
    }
    case 'cancelScheduled':
      return cancelScheduled(core, request.messageId)
    case 'unpark':
      return unpark(core, findQueue(core, request.queue), request.ids)
    case 'alter':
      alter(core, findQueue(core, request.queue), request.options)
      return null
    case 'deleteQueue': {
      const queue = findQueue(core, request.queue)
      const error = new BuzzerError('BUZZER_QUEUE_NOT_FOUND', `queue ${JSON.stringify(queue.name)} was deleted`, {
        details: { queue: queue.name },
      })
      deleteQueue(core, queue, error)
      return null
    }
    case 'bind': {
      const queue = findQueue(core, request.queue)
      queue.usedAt = core.monotonic
      bind(core, makeBinding(request.topic, queue.id, false, request.match))
      return null
    }
    case 'unbind':
      unbind(core, request.topic, findQueue(core, request.queue))
      return null
    case 'bindings':
      return core.routes.of(request.topic).flatMap(({ queue, exclusive, match }) => {
        const name = core.queuesById.get(queue)?.name
        return name === undefined ? [] : [{ queue: name, exclusive, ...(match === undefined ? {} : { match }) }]
      })
    case 'engine':
      return engineStats(core)
    default:
      request satisfies never
      throw new BuzzerError('BUZZER_UNSUPPORTED', 'this owner does not know that call; update it', {
        details: { request },
      })
  }
}

/** The queue whose dead-letter queue is called `name`. */
export function deadOf(core: Core, name: string): Queue | undefined {
  return name.endsWith(deadSuffix) ? core.queues.get(name.slice(0, -deadSuffix.length)) : undefined
}

function toSequence(id: string): number {
  const sequence = Number(id)
  if (Number.isInteger(sequence) && id !== '') return sequence
  throw new BuzzerError('BUZZER_INVALID_OPTION', `${JSON.stringify(id)} is not the id of a message in the broker`, {
    details: { id },
  })
}

function wantedStates(state: MessageState | undefined): readonly MessageState[] {
  if (state === undefined) return states
  if (states.includes(state)) return [state]
  throw new BuzzerError('BUZZER_INVALID_OPTION', `state ${JSON.stringify(state)} is none of ${states.join(', ')}`, {
    details: { option: 'state', value: state },
  })
}

function figures(core: Core, queue: Queue): QueueFigures {
  const { ready, locked, scheduled, parked, dead, bytes } = queue.counts
  const oldestReadyAt = ready === 0 ? undefined : core.chunks.oldestReadyAt(queue.id)
  return {
    name: queue.name,
    options: queue.declared,
    ready,
    locked,
    scheduled,
    parked,
    dead,
    bytes,
    receivers: queue.receivers.length,
    ...(oldestReadyAt === undefined ? {} : { oldestReadyAt }),
  }
}

/** The dead-letter queue counted as a queue of its own. */
function deadFigures(queue: Queue): QueueFigures {
  const locked = queue.deadOpen.size
  return {
    name: queue.name + deadSuffix,
    options: {},
    ready: queue.counts.dead - locked,
    locked,
    scheduled: 0,
    parked: 0,
    dead: 0,
    bytes: 0,
    receivers: queue.deadReceivers.length,
  }
}

function purge(core: Core, queue: Queue, state: MessageState, before: number): number {
  if (state === 'locked') {
    throw new BuzzerError('BUZZER_INVALID_OPTION', 'locked messages cannot be purged: they finish normally', {
      details: { option: 'state', value: state },
    })
  }
  wantedStates(state)
  queue.usedAt = core.monotonic
  if (state === 'dead') {
    return eachDead(core, queue, undefined, Number.POSITIVE_INFINITY, row => {
      if (row.enqueuedAt >= before) return false
      return dropDead(core, queue, row)
    })
  }
  let count = state === 'scheduled' ? purgeScheduled(core, queue, before) : 0
  for (const row of Array.from(core.chunks.ofQueue(queue.id))) {
    if (row.enqueuedAt >= before || !row.marks.some(word => stateOf(word) === state)) continue
    const chunk = queue.chunk(row.lane, row.id)
    if (chunk === undefined) continue
    for (let index = 0; index < chunk.count; index++) {
      const word = chunk.marks[index] as number
      if (stateOf(word) !== state) continue
      const record = readRecord(core, chunk, index)
      if (word & mark.held) core.chunks.unhold(chunk.id + index)
      remove(core, queue, chunk, index, record.end - record.start, state)
      // What is held or open blocks its key; what is only ready does not.
      if (word & mark.held) queue.order.settled(chunk, index)
      count++
    }
    core.trimCache()
  }
  core.toDispatch.add(queue)
  return count
}

function purgeScheduled(core: Core, queue: Queue, before: number): number {
  let count = 0
  for (let after = -1; ; ) {
    const rows = core.aside.page(queue.id, asideKinds.scheduled, after, 256)
    for (const row of rows) {
      after = row.sequence
      if (row.enqueuedAt >= before) continue
      core.file.begin()
      core.aside.delete(row.sequence)
      queue.counts.scheduled--
      queue.counts.bytes -= row.bytes
      core.liveBytes -= row.bytes
      count++
    }
    if (rows.length < 256) return count
  }
}

/** Calls `act` for dead letters that nobody has open: those named, or all. Returns how many times it said true. */
function eachDead(
  core: Core,
  queue: Queue,
  ids: readonly string[] | undefined,
  limit: number,
  act: (row: AsideRow) => boolean,
): number {
  core.file.begin()
  queue.usedAt = core.monotonic
  let count = 0
  const consider = (row: AsideRow | undefined): void => {
    if (row === undefined || row.queue !== queue.id || queue.deadOpen.has(row.sequence) || count >= limit) return
    if (act(row)) count++
  }
  if (ids !== undefined) {
    // An id that names nothing, whatever it looks like, is none of them.
    for (const id of ids) if (/^\d+$/.test(id)) consider(core.aside.get(asideKinds.dead, Number(id)))
    return count
  }
  for (let after = -1; ; ) {
    const rows = core.aside.page(queue.id, asideKinds.dead, after, 256)
    for (const row of rows) consider(row)
    const last = rows.at(-1)
    if (last === undefined || rows.length < 256 || count >= limit) return count
    after = last.sequence
  }
}

function dropDead(core: Core, queue: Queue, row: AsideRow): boolean {
  core.aside.delete(row.sequence)
  queue.counts.dead--
  queue.counts.bytes -= row.bytes
  core.liveBytes -= row.bytes
  return true
}

/** Back to the end of a queue: attempt 1, one more in `redrives`, time to live from now; past quotas and windows. */
function redrive(core: Core, queue: Queue, ids: readonly string[] | undefined, limit: number, to: Queue): number {
  const writer = new ByteWriter()
  to.usedAt = core.monotonic
  return eachDead(core, queue, ids, limit, row => {
    // In the queue a damaged one would have a new checksum, and be delivered as good. `deleteDead` removes it.
    if (row.reason === 'damaged') return false
    const body = core.aside.body(row.sequence)
    if (body?.intact !== true) return false
    const { deliverAt: _, deduplicationKey: __, expiresAt, ...message } = decodeMessage(body.record, 0)
    const redrives = Number(message.attributes['redrives'] ?? 0) + 1
    const lived = expiresAt === undefined ? {} : { expiresAt: core.now + Math.max(0, expiresAt - row.enqueuedAt) }
    writer.rewind(0)
    encodeMessage(
      writer,
      {
        ...message,
        ...lived,
        attributes: { ...message.attributes, redrives: String(redrives) },
        to: { queue: to.name },
      },
      Number.MAX_SAFE_INTEGER,
    )
    dropDead(core, queue, row)
    enqueueRecord(core, to, Buffer.from(writer.take()))
    return true
  })
}

function unpark(core: Core, queue: Queue, ids: readonly string[]): number {
  queue.usedAt = core.monotonic
  let count = 0
  for (const id of ids) {
    const place = queue.place(toSequence(id))
    if (place === undefined) continue
    const { chunk, index } = place
    const word = chunk.marks[index] as number
    if ((word & mark.parked) === 0) continue
    chunk.marks[index] = word & ~mark.parked
    core.touch(chunk)
    queue.counts.parked--
    queue.counts.ready++
    queue.order.restore(chunk, index)
    core.agenda.expiryAt(core.now)
    core.toDispatch.add(queue)
    count++
  }
  return count
}
