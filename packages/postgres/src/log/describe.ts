import { resolveStreamOptions, type StreamDescription, streamNotFound } from 'buzzer/transport'
import { rowsOf, type SqlHandle } from '../sql-handle.ts'
import { readGiven } from './streams.ts'

interface DescribeRow {
  readonly name: string
  readonly given: string
  readonly partition: number
  readonly first: number
  readonly end: number
  readonly bytes: number
  readonly first_time: number | null
  readonly last_time: number | null
}

/**
 * All streams, or the named one, as one moment sees them. `schema`: quoted.
 * @throws BUZZER_STREAM_NOT_FOUND for a named stream that is not there
 */
export async function describe(
  handle: SqlHandle,
  schema: string,
  name: string | undefined,
): Promise<StreamDescription[]> {
  if (name !== undefined && (name.includes('\0') || !name.isWellFormed())) throw streamNotFound(name)
  const rows = await rowsOf<DescribeRow>(handle, `select * from ${schema}.log_describe($1::text)`, [name ?? null])
  if (name !== undefined && rows.length === 0) throw streamNotFound(name)
  const byName = Map.groupBy(rows, row => row.name)
  return [...byName.values()].map(group => {
    const [row] = group as [DescribeRow]
    return {
      name: row.name,
      options: resolveStreamOptions(readGiven(row.given)),
      partitions: group.map(({ partition, first, end, bytes, first_time, last_time }) => ({
        partition,
        first,
        end,
        bytes,
        ...(first_time === null ? {} : { firstTime: first_time }),
        ...(last_time === null ? {} : { lastTime: last_time }),
      })),
    }
  })
}
