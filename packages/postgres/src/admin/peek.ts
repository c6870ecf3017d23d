import type { MessageState, PeekedMessage } from 'buzzer/transport'
import { decodeRecord } from '../queues/message-record.ts'
import { deadLetterInfo } from '../queues/open-delivery.ts'
import type { ServerTime } from '../queues/server-time.ts'
import { rowsOf, type SqlHandle } from '../sql-handle.ts'

interface ChunkRow {
  readonly rank: string
  readonly next: number
  readonly n: number
  readonly priority: number
  readonly accepted: number
  readonly expires: number | null
  readonly is_leased: boolean
  readonly settled: Buffer | null
  readonly sizes: string
  readonly records: Buffer
}

interface SingleRow {
  readonly rank: string
  readonly shown: MessageState
  readonly attempt: number
  readonly accepted: number
  readonly due: number | null
  readonly expires: number | null
  readonly reason: string | null
  readonly detail: string | null
  readonly dead: number | null
  readonly record: Buffer
}

export interface PeekQuestion {
  /** Negative for the dead letters alone. */
  readonly queue: number
  readonly state: MessageState | undefined
  readonly after: number
  readonly limit: number
}

/** A page of what lies in a queue, in queue order. Locks nothing, counts nothing. */
export async function peekAt(
  handle: SqlHandle,
  quotedSchema: string,
  { queue, state, after, limit }: PeekQuestion,
  time: ServerTime,
): Promise<{ readonly items: readonly PeekedMessage[]; readonly next?: string }> {
  const found: PeekedMessage[] = []
  if (queue > 0 && (state === undefined || state === 'ready' || state === 'locked')) {
    const chunks = await rowsOf<ChunkRow>(
      handle,
      `select rank::text, next, n, priority::integer, ${quotedSchema}.epoch_ms(accepted_at) as accepted, ${quotedSchema}.epoch_ms(expires_at) as expires,
        leased_until is not null as is_leased, settled, to_json(sizes)::text as sizes, records
      from ${quotedSchema}.chunk
      where queue = $1::integer and rank + (n - next) > $2::bigint and ($3::text is null or (leased_until is not null) = ($3::text = 'locked'))
      order by rank limit $4::integer`,
      [queue, after, state ?? null, limit + 1],
    )
    for (const chunk of chunks) found.push(...messagesOf(chunk, time).filter(({ id }) => Number(id) > after))
  }
  const singles = await rowsOf<SingleRow>(
    handle,
    `select * from (
      select s.rank::text as id, s.rank, ${quotedSchema}.epoch_ms(s.accepted_at) as accepted, ${quotedSchema}.epoch_ms(s.expires_at) as expires,
        ${quotedSchema}.epoch_ms(coalesce(s.due_at, o.due_at)) as due, coalesce(o.attempt, s.died_after, s.attempt) as attempt,
        s.reason, s.detail, ${quotedSchema}.epoch_ms(s.dead_at) as dead, s.record,
        case when s.queue < 0 and $1::integer > 0 then 'dead'
          when s.leased_until is not null or o.leased_until is not null then 'locked'
          when o.due_at is not null or s.state in (1, 2) then 'scheduled'
          when s.state = 3 then 'parked' else 'ready' end as shown
      from ${quotedSchema}.single s
      left join ${quotedSchema}.lane o on o.queue = s.queue and o.key = s.key and o.head = s.rank
      where s.queue in ($1::integer, -abs($1::integer)) and s.rank > $2::bigint
    ) seen where ($3::text is null or shown = $3::text) order by rank limit $4::integer`,
    [queue, after, state ?? null, limit + 1],
  )
  for (const row of singles) found.push(messageOf(row, time))
  const sorted = found.toSorted((a, b) => Number(a.id) - Number(b.id))
  const items = sorted.slice(0, limit)
  const last = items.at(-1)
  return sorted.length > limit && last !== undefined ? { items, next: last.id } : { items }
}

function messagesOf(chunk: ChunkRow, time: ServerTime): readonly PeekedMessage[] {
  const found: PeekedMessage[] = []
  let start = 0
  for (const [index, size] of (JSON.parse(chunk.sizes) as number[]).entries()) {
    const isSettled = chunk.settled !== null && ((chunk.settled[index >> 3] ?? 0) & (1 << (index & 7))) !== 0
    if (index >= chunk.next && !isSettled) {
      const { deliverAt: _, expiresAt: __, topic: ___, ...message } = decodeRecord(chunk.records, start, size)
      const { id, ...rest } = message
      found.push({
        ...rest,
        id: String(Number(chunk.rank) - chunk.next + index),
        messageId: id,
        state: chunk.is_leased ? 'locked' : 'ready',
        attempt: chunk.is_leased ? 1 : 0,
        enqueuedAt: time.toOurs(chunk.accepted),
        ...(chunk.expires === null ? {} : { expiresAt: time.toOurs(chunk.expires) }),
      })
    }
    start += size
  }
  return found
}

function messageOf(row: SingleRow, time: ServerTime): PeekedMessage {
  const { deliverAt: _, expiresAt: __, topic: ___, ...message } = decodeRecord(row.record, 0, row.record.byteLength)
  const { id, ...rest } = message
  return {
    ...rest,
    id: row.rank,
    messageId: id,
    state: row.shown,
    attempt: row.attempt,
    enqueuedAt: time.toOurs(row.accepted),
    ...(row.due === null ? {} : { dueAt: time.toOurs(row.due) }),
    ...(row.expires === null ? {} : { expiresAt: time.toOurs(row.expires) }),
    ...(row.reason === null
      ? {}
      : {
          deadLetter: deadLetterInfo({
            reason: row.reason,
            detail: row.detail ?? undefined,
            deadAt: time.toOurs(row.dead as number),
          }),
        }),
  }
}
