import type { OutgoingMessage } from 'buzzer/transport'
import { type Encoded, Manifest } from '../queues/manifest.ts'
import { decodeRecord, encodeRecord, type StoredMessage } from '../queues/message-record.ts'
import type { Session } from '../queues/session.ts'
import type { TopologyView } from '../queues/topology.ts'
import { rowsOf, type SqlHandle } from '../sql-handle.ts'

interface Row {
  readonly rank: string
  readonly available: number
  readonly record: Buffer
}

const atOnce = 1_000

export interface RedriveQuestion {
  readonly source: number
  readonly target: string
  readonly ids: readonly string[] | undefined
  readonly limit: number
}

/** Moves dead letters to the end of a queue, as new messages, in one transaction: no crash leaves one in both or in neither. */
export async function redrive(
  handle: SqlHandle,
  session: Session,
  view: TopologyView,
  { source, target, ids, limit }: RedriveQuestion,
): Promise<number> {
  const { time, sql, options, database } = session
  const { quotedSchema } = database
  let moved = 0
  while (moved < limit) {
    const rows = await rowsOf<Row>(
      handle,
      `with chosen as (
        select rank from ${quotedSchema}.single
        where queue = $1::integer and leased_until is null
          and ($2::json is null or rank in (select value::bigint from json_array_elements_text($2::json) as x(value)))
        order by rank limit $3::integer for update skip locked
      ), taken as (
        delete from ${quotedSchema}.single s using chosen where s.rank = chosen.rank returning s.rank, s.available_at, s.record
      )
      select rank::text, ${quotedSchema}.epoch_ms(available_at) as available, record from taken order by taken.rank`,
      [-source, ids === undefined ? null : JSON.stringify(ids.filter(isRank)), Math.min(atOnce, limit - moved)],
    )
    if (rows.length === 0) break
    const manifest = new Manifest(view, time, options.chunkLimits)
    for (const row of rows) {
      const message = redriven(
        decodeRecord(row.record, 0, row.record.byteLength),
        target,
        time.now(),
        time.toOurs(row.available),
      )
      manifest.add({ message, record: encodeRecord(message) } satisfies Encoded, 'passed')
    }
    const { rows: answers } = await handle.query(sql.send, [
      null,
      null,
      manifest.topology.version,
      manifest.itemsText,
      manifest.data,
      null,
      false,
      manifest.idle,
      `{${[...manifest.queues].join(',')}}`,
      manifest.masks,
      null,
      null,
    ])
    const { as } = JSON.parse((answers[0] as { answer: string }).answer) as { as: string }
    if (as !== 'stored') throw new Error(`a redrive under the lock of the topology was answered ${as}`)
    moved += rows.length
  }
  return moved
}

/** Numbers of the table alone; anything else names no message. */
export function isRank(id: string): boolean {
  return /^\d{1,18}$/.test(id)
}

/** The message as it comes back: time to live anew, `redrives` one higher, past the deduplication window. */
function redriven(dead: StoredMessage, queue: string, now: number, availableAt: number): OutgoingMessage {
  const { deliverAt: _, topic: __, expiresAt, attributes, ...rest } = dead
  const { expirytime, ...others } = attributes
  const newExpiry = expiresAt === undefined ? undefined : now + (expiresAt - availableAt)
  return {
    ...rest,
    to: { queue },
    mandatory: false,
    attributes: {
      ...others,
      ...(expirytime === undefined || newExpiry === undefined ? {} : { expirytime: new Date(newExpiry).toISOString() }),
      redrives: String(Number(attributes['redrives'] ?? '0') + 1),
    },
    ...(newExpiry === undefined ? {} : { expiresAt: newExpiry }),
  }
}
