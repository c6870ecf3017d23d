/** What happens to one message: it goes, it comes back, it expires, it dies. Counts and marks change here only. */
import { ByteWriter, decodeMessage, encodeMessage, recordExpiresAt, recordId } from '../protocol/index.ts'
import { type AsideRow, asideKinds } from '../storage/aside-store.ts'
import { mark, recordIntact, recordStart } from '../storage/chunk-format.ts'
import type { Chunk } from './chunk.ts'
import type { Core } from './core.ts'
import type { Queue } from './queue.ts'

/** How a delivery ended that was not settled for good. */
export type Ending = 'retry' | 'release' | 'lock-lost' | 'session-ended'

export interface Death {
  readonly reason: string
  /** JSON, or undefined. */
  readonly detail: string | undefined
}

/** The record of a message in `bytes`, from `start` to `end`. */
export interface RecordPlace {
  readonly bytes: Buffer
  readonly start: number
  readonly end: number
  readonly intact: boolean
}

/** Finds the record of a message, reading its chunk if need be. */
export function readRecord(core: Core, chunk: Chunk, index: number): RecordPlace {
  if (chunk.bodies === undefined) {
    const bodies = core.chunks.bodies(chunk.id)
    if (bodies === undefined || !chunk.setBodies(bodies)) {
      return { bytes: bodies ?? Buffer.alloc(0), start: 0, end: 0, intact: false }
    }
    core.cache(chunk)
  }
  const bytes = chunk.bodies as Buffer
  const layout = chunk.layout as NonNullable<Chunk['layout']>
  const start = recordStart(bytes, layout, index)
  const end = recordStart(bytes, layout, index + 1)
  return { bytes, start, end, intact: chunk.verified || recordIntact(bytes, layout, index) }
}

/** Takes a message out of its chunk and out of the counts; `from` is where it was counted. */
export function remove(
  core: Core,
  queue: Queue,
  chunk: Chunk,
  index: number,
  bytes: number,
  from: 'ready' | 'locked' | 'scheduled' | 'parked',
): void {
  chunk.marks[index] = mark.gone
  chunk.live--
  chunk.bytes -= bytes
  queue.counts[from]--
  queue.counts.bytes -= bytes
  core.liveBytes -= bytes
  core.touch(chunk)
}

/** A record that can be decoded, whatever became of the bytes. */
export function decodable(raw: Buffer, sequence: number): Buffer {
  try {
    decodeMessage(raw, 0)
    return raw
  } catch {
    const writer = new ByteWriter(raw.length + 64)
    const message = {
      id: `damaged-${sequence}`,
      to: { queue: '' },
      attributes: {},
      headers: {},
      body: new Uint8Array(raw),
      priority: 4,
      mandatory: false,
    }
    encodeMessage(writer, message, Number.MAX_SAFE_INTEGER)
    return Buffer.from(writer.take())
  }
}

/** Moves a message to the dead letters of its queue, untouched. */
export function bury(
  core: Core,
  queue: Queue,
  chunk: Chunk,
  index: number,
  from: 'ready' | 'locked' | 'scheduled',
  death: Death,
): void {
  const place = readRecord(core, chunk, index)
  const sequence = chunk.id + index
  const raw = Buffer.from(place.bytes.subarray(place.start, place.end))
  const record = place.intact ? raw : decodable(raw, sequence)
  const attempts = (chunk.marks[index] as number) & mark.attempts
  core.file.begin()
  const { deadLetterTtlMs } = queue.settings
  const expires = core.now + deadLetterTtlMs
  core.aside.insert(
    asideKinds.dead,
    {
      sequence,
      queue: queue.id,
      messageId: recordId(record, 0),
      enqueuedAt: chunk.enqueuedAt,
      due: null,
      expires: Number.isFinite(expires) ? expires : null,
      bytes: record.length,
      destination: null,
      attempts,
      // Its bytes get a new checksum with the row: that they were damaged must not be forgotten.
      reason: place.intact ? death.reason : 'damaged',
      detail: death.detail ?? null,
      deadAt: core.now,
      deadDeliveries: 0,
      kept: 0,
    },
    record,
  )
  core.agenda.expiryAt(expires)
  core.writtenBytes += record.length + 512
  remove(core, queue, chunk, index, place.end - place.start, from)
  queue.counts.dead++
  queue.counts.bytes += record.length
  core.liveBytes += record.length
  core.toDispatch.add(queue)
}

/** A scheduled message that is found damaged: a dead letter of its queue, never delivered as good. */
export function buryDamaged(core: Core, queue: Queue, row: AsideRow, raw: Buffer): void {
  core.counters.damaged++
  core.options.report('error', { queue: queue.name, sequence: row.sequence }, 'a stored message is damaged')
  const record = decodable(raw, row.sequence)
  const expires = core.now + queue.settings.deadLetterTtlMs
  const dead: AsideRow = {
    ...row,
    queue: queue.id,
    messageId: recordId(record, 0),
    due: null,
    expires: Number.isFinite(expires) ? expires : null,
    bytes: record.length,
    destination: null,
    reason: 'damaged',
    deadAt: core.now,
  }
  core.aside.insert(asideKinds.dead, dead, record)
  core.agenda.expiryAt(expires)
  core.writtenBytes += record.length + 512
  queue.counts.dead++
  queue.counts.bytes += record.length
  core.liveBytes += record.length
  core.toDispatch.add(queue)
}

/** When a message may no longer be delivered. */
export function expiryOf(queue: Queue, chunk: Chunk, place: RecordPlace): number {
  const own = place.end > place.start ? recordExpiresAt(place.bytes, place.start) : undefined
  return Math.min(own ?? Number.POSITIVE_INFINITY, chunk.enqueuedAt + queue.settings.ttlMs)
}

/** Ends a message whose time is up. */
export function expire(
  core: Core,
  queue: Queue,
  chunk: Chunk,
  index: number,
  place: RecordPlace,
  from: 'ready' | 'locked' | 'scheduled',
): void {
  core.counters.expired++
  if (queue.settings.deadLetterExpired) bury(core, queue, chunk, index, from, { reason: 'expired', detail: undefined })
  else remove(core, queue, chunk, index, place.end - place.start, from)
}

/**
 * A message that was open comes back: to its place, after `delayMs`, or to the dead letters when it was its last
 * delivery. The caller has freed its slot.
 */
export function comeBack(core: Core, queue: Queue, chunk: Chunk, index: number, ending: Ending, delayMs: number): void {
  const word = chunk.marks[index] as number
  let attempts = word & mark.attempts
  let deaths = (word & mark.deaths) / mark.deathUnit
  if (ending === 'release') attempts = Math.max(0, attempts - 1)
  else if (ending === 'session-ended') deaths = Math.min(2, deaths + 1)
  else deaths = 0
  chunk.open--
  core.touch(chunk)
  core.toDispatch.add(queue)
  if (ending !== 'release' && attempts >= queue.settings.maxDeliveries) {
    const detail = JSON.stringify({ lastDelivery: ending, deliveries: attempts })
    bury(core, queue, chunk, index, 'locked', { reason: 'max-deliveries-exceeded', detail })
    queue.order.settled(chunk, index)
    return
  }
  if (Number.isFinite(chunk.expires)) {
    const place = readRecord(core, chunk, index)
    const expires = expiryOf(queue, chunk, place)
    if (expires <= core.now) {
      chunk.marks[index] = attempts | (deaths * mark.deathUnit)
      expire(core, queue, chunk, index, place, 'locked')
      queue.order.settled(chunk, index)
      return
    }
    core.agenda.expiryAt(expires)
    if (expires < chunk.expires) chunk.expires = expires
  }
  queue.counts.locked--
  chunk.marks[index] = attempts | (deaths * mark.deathUnit)
  if (delayMs > 0) {
    chunk.marks[index] = attempts | (deaths * mark.deathUnit) | mark.held
    queue.counts.scheduled++
    core.file.begin()
    core.chunks.hold(chunk.id + index, queue.id, core.now + delayMs, delayMs)
    core.agenda.dueAt(core.now + delayMs)
    return
  }
  queue.counts.ready++
  queue.order.giveBack(chunk, index)
}

/** The deliveries of a chunk that no session has come back to within the window. */
export function freeUnclaimed(core: Core, queue: Queue, chunk: Chunk, ending: 'release' | 'session-ended'): void {
  for (let index = 0; index < chunk.count; index++) {
    const word = chunk.marks[index] as number
    if ((word & mark.open) === 0 || word & mark.ours) continue
    chunk.open++
    comeBack(core, queue, chunk, index, ending, 0)
  }
}
