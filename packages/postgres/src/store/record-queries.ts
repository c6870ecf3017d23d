import type { JsonValue } from 'buzzer'
import type { ClaimRequest, IndexQuery, Page, PageRequest, Scalar, StoredRecord } from 'buzzer/store'
import { quoteIdentifier, rowsOf, type SqlHandle } from '../sql-handle.ts'
import type { Collections } from './collections.ts'
import { indexValue, scalarOf } from './index-value.ts'
import { checkScalar, invalid } from './record-change.ts'
import { type RecordStatements, recordStatements } from './record-statements.ts'

interface RecordRow {
  readonly id: string
  readonly value: string
  readonly version: number
  readonly updated_at: number
}

interface IndexedRow extends RecordRow {
  readonly num: number
  readonly txt: string
}

/** Reads of the store; each is one statement and sees what is committed when it begins. */
export class RecordQueries {
  readonly #schema: string
  readonly #sql: RecordStatements
  readonly #collections: Collections

  constructor(schema: string, collections: Collections) {
    this.#schema = quoteIdentifier(schema)
    this.#sql = recordStatements(this.#schema)
    this.#collections = collections
  }

  async get<T>(handle: SqlHandle, collection: string, id: string): Promise<StoredRecord<T> | undefined> {
    // What no record can be called is called by none; PostgreSQL would refuse to look.
    if (!isText(collection) || !isText(id)) return undefined
    const [row] = await rowsOf<RecordRow>(handle, this.#sql.get, [collection, id])
    return row === undefined ? undefined : toRecord<T>(row)
  }

  /** @throws BUZZER_INVALID_OPTION for an index nobody declared, a limit outside 1 to 1,000, or an `after` of elsewhere */
  async query<T>(
    handle: SqlHandle,
    collection: string,
    where: IndexQuery,
    { limit = 50, after }: PageRequest,
  ): Promise<Page<StoredRecord<T>>> {
    if (!Number.isInteger(limit) || limit < 1 || limit > 1_000) {
      throw invalid(`a page has 1 to 1,000 records, not ${String(limit)}`, { option: 'limit', value: limit })
    }
    const cursor = after === undefined ? undefined : readCursor(after)
    await this.#collections.checkIndex(handle, collection, where.index)
    const direction = where.order === 'desc' ? 'desc' : 'asc'
    const values: unknown[] = [collection, where.index, limit + 1]
    const conditions: string[] = []
    const compare = (operator: '=' | '>=' | '<', value: Scalar | undefined): void => {
      if (value === undefined) return
      checkScalar(value, `index ${where.index} of ${collection}`)
      conditions.push(`(i.num, i.txt) ${operator} (${column(values, value)})`)
    }
    compare('=', where.equals)
    compare('>=', where.from)
    compare('<', where.to)
    if (cursor !== undefined) {
      const place = column(values, cursor.value)
      values.push(cursor.id)
      conditions.push(`(i.num, i.txt, i.id) ${direction === 'asc' ? '>' : '<'} (${place}, $${values.length}::text)`)
    }
    const rows = await rowsOf<IndexedRow>(
      handle,
      `select r.id, r.value::text as value, r.version,
         floor(extract(epoch from r.updated_at) * 1000)::double precision as updated_at, i.num, i.txt
       from ${this.#schema}.record_index i
       join ${this.#schema}.record r on r.collection = i.collection and r.id = i.id
       where i.collection = $1::text and i.name = $2::text and (r.expires_at is null or r.expires_at > clock_timestamp())
         ${conditions.map(condition => `and ${condition}`).join(' ')}
       order by i.num ${direction}, i.txt ${direction}, i.id ${direction} limit $3::integer`,
      values,
    )
    const items = rows.slice(0, limit).map(row => toRecord<T>(row))
    const last = rows[limit - 1]
    return rows.length > limit && last !== undefined ? { items, next: writeCursor(last) } : { items }
  }

  /** @throws BUZZER_INVALID_OPTION for an index nobody declared */
  async claim<T>(handle: SqlHandle, collection: string, due: ClaimRequest): Promise<readonly StoredRecord<T>[]> {
    const { index, upTo, limit, leaseMs, owner } = due
    checkScalar(upTo, `index ${index} of ${collection}`)
    if (!(limit >= 0) || !(leaseMs >= 0)) {
      throw invalid(`a claim of ${limit} records for ${leaseMs} ms is none`, { option: 'limit', value: limit, leaseMs })
    }
    await this.#collections.checkIndex(handle, collection, index)
    const { num, txt } = indexValue(upTo)
    const values = [
      collection,
      index,
      num ?? Number.POSITIVE_INFINITY,
      txt,
      Math.min(Math.floor(limit), 2 ** 31 - 1),
      Math.min(leaseMs, 1e14),
      owner,
    ]
    return (await rowsOf<RecordRow>(handle, this.#sql.claim, values)).map(row => toRecord<T>(row))
  }
}

function column(values: unknown[], value: Scalar): string {
  const { num, txt } = indexValue(value)
  values.push(num ?? Number.POSITIVE_INFINITY, txt)
  return `$${values.length - 1}::double precision, $${values.length}::text`
}

function isText(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed()
}

function toRecord<T = JsonValue>({ id, value, version, updated_at }: RecordRow): StoredRecord<T> {
  return { id, value: JSON.parse(value) as T, version, updatedAt: updated_at }
}

function writeCursor({ num, txt, id }: IndexedRow): string {
  return Buffer.from(JSON.stringify([scalarOf(num, txt), id])).toString('base64url')
}

function readCursor(cursor: string): { readonly value: Scalar; readonly id: string } {
  try {
    const [value, id] = JSON.parse(Buffer.from(cursor, 'base64url').toString()) as [Scalar, string]
    const isScalar = typeof value === 'number' || (typeof value === 'string' && isText(value))
    if (isScalar && typeof id === 'string' && isText(id)) return { value, id }
  } catch {
    // Said below: what is not JSON is no cursor either.
  }
  throw invalid(`${JSON.stringify(cursor)} is no page position of this store`, { option: 'after', value: cursor })
}
