import type { MessageState } from '../../transport/index.ts'
import type { PeekedWire } from '../protocol/index.ts'
import { recordExpiresAt } from '../protocol/index.ts'
import { asideKinds, type AsideKind, type AsideRow } from '../storage/aside-store.ts'
import type { ChunkRow } from '../storage/chunk-store.ts'
import { mark, readLayout, recordIntact, recordStart } from '../storage/chunk-format.ts'
import { pageBytes } from '../storage/page-bytes.ts'
import type { Core } from './core.ts'
import { deadLetterInfo } from './dispatch.ts'
import { decodable } from './message-life.ts'
import type { Queue } from './queue.ts'

/** A chunk holds at most so many messages, so a page that begins behind a sequence looks so far back. */
const chunkMessages = 1_024
/** Most chunks hold many messages: a short page is found in the first rows. */
const firstRows = 2
const windowRows = 64

export function stateOf(word: number): MessageState | undefined {
  if (word & mark.gone) return undefined
  if (word & mark.open) return 'locked'
  if (word & mark.held) return 'scheduled'
  return word & mark.parked ? 'parked' : 'ready'
}

interface Candidate {
  readonly sequence: number
  entry(): PeekedWire | undefined
}

function* laneCandidates(
  core: Core,
  queue: Queue,
  lane: number,
  after: number,
  wanted: (state: MessageState) => boolean,
): Generator<Candidate> {
  let last = Math.max(-1, after - chunkMessages)
  for (let limit = firstRows; ; limit = Math.min(4 * limit, windowRows)) {
    const rows = core.chunks.windowOfMarks(queue.id, lane, last, limit)
    for (const row of rows) {
      let bodies: Buffer | undefined
      // Read once, and not before an entry of it is wanted.
      const read = (): Buffer | undefined => (bodies ??= queue.chunks.get(row.id)?.bodies ?? core.chunks.bodies(row.id))
      for (let index = 0; index < row.count; index++) {
        const state = stateOf(row.marks[index] as number)
        const sequence = row.id + index
        if (sequence <= after || state === undefined || !wanted(state)) continue
        yield { sequence, entry: () => chunkEntry(core, queue, row, index, state, read()) }
      }
    }
    const end = rows.at(-1)
    if (end === undefined || rows.length < limit) return
    last = end.id
  }
}

function* asideCandidates(core: Core, queue: Queue, kind: AsideKind, after: number): Generator<Candidate> {
  let last = after
  for (;;) {
    const rows = core.aside.page(queue.id, kind, last, windowRows)
    for (const row of rows) yield { sequence: row.sequence, entry: () => asideEntry(core, row) }
    const end = rows.at(-1)
    if (end === undefined || rows.length < windowRows) return
    last = end.sequence
  }
}

function chunkEntry(
  core: Core,
  queue: Queue,
  row: ChunkRow,
  index: number,
  state: MessageState,
  bodies: Buffer | undefined,
): PeekedWire | undefined {
  const layout = bodies === undefined ? undefined : readLayout(bodies)
  if (bodies === undefined || layout === undefined) return undefined
  const sequence = row.id + index
  const stored = bodies.subarray(recordStart(bodies, layout, index), recordStart(bodies, layout, index + 1))
  // One that is damaged is buried when its turn comes; until then it is shown as far as it can be read.
  const record = recordIntact(bodies, layout, index) ? stored : decodable(stored, sequence)
  const expires = Math.min(
    recordExpiresAt(record, 0) ?? Number.POSITIVE_INFINITY,
    row.enqueuedAt + queue.settings.ttlMs,
  )
  const dueAt = state === 'scheduled' ? core.chunks.heldDue(sequence) : undefined
  return {
    id: String(sequence),
    state,
    attempt: (row.marks[index] as number) & mark.attempts,
    enqueuedAt: row.enqueuedAt,
    ...(dueAt === undefined ? {} : { dueAt }),
    ...(Number.isFinite(expires) ? { expiresAt: expires } : {}),
    record: record.toString('base64'),
  }
}

function asideEntry(core: Core, row: AsideRow): PeekedWire | undefined {
  const body = core.aside.body(row.sequence)
  if (body === undefined) return undefined
  const dead = row.deadAt !== null
  return {
    id: String(row.sequence),
    state: dead ? 'dead' : 'scheduled',
    attempt: row.attempts,
    enqueuedAt: row.enqueuedAt,
    ...(row.due === null ? {} : { dueAt: row.due }),
    ...(dead || row.expires === null ? {} : { expiresAt: row.expires }),
    ...(dead ? { deadLetter: deadLetterInfo(row, body.intact) } : {}),
    record: (body.intact ? body.record : decodable(body.record, row.sequence)).toString('base64'),
  }
}

export interface PeekPage {
  readonly items: readonly PeekedWire[]
  readonly next?: string
}

/** Entries of a queue by sequence. The rows must be flushed. Never locks, counts or delays a delivery. */
export function peek(
  core: Core,
  queue: Queue,
  states: readonly MessageState[],
  after: number,
  limit: number,
): PeekPage {
  const wanted = (state: MessageState): boolean => states.includes(state)
  const sources: Generator<Candidate>[] = []
  if (states.some(state => state !== 'dead')) {
    for (let lane = 0; lane < 10; lane++) sources.push(laneCandidates(core, queue, lane, after, wanted))
  }
  if (wanted('scheduled')) sources.push(asideCandidates(core, queue, asideKinds.scheduled, after))
  if (wanted('dead')) sources.push(asideCandidates(core, queue, asideKinds.dead, after))
  const heads = sources.map(source => ({ source, head: source.next() }))
  const items: PeekedWire[] = []
  let bytes = 0
  for (;;) {
    let first: (typeof heads)[number] | undefined
    for (const candidate of heads) {
      if (candidate.head.done === true) continue
      if (
        first === undefined ||
        first.head.done === true ||
        candidate.head.value.sequence < first.head.value.sequence
      ) {
        first = candidate
      }
    }
    if (first === undefined || first.head.done === true) return { items }
    if (items.length === limit || bytes >= pageBytes) return { items, next: items.at(-1)?.id ?? '' }
    const entry = first.head.value.entry()
    if (entry !== undefined) {
      items.push(entry)
      bytes += entry.record.length
    }
    first.head = first.source.next()
  }
}
