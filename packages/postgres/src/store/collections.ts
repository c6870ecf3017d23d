import type { CollectionDeclaration, Scalar } from 'buzzer/store'
import { quoteIdentifier, rowsOf, type RunTransaction, type SqlHandle } from '../sql-handle.ts'
import { checkCollection, invalid } from './record-change.ts'
import { taken } from './record-plan.ts'
import { scalarOf } from './index-value.ts'

interface Collection {
  readonly indexes: ReadonlySet<string>
  readonly uniques: ReadonlySet<string>
}

/** Names are few; a program that makes them up by the million looks up some twice. */
const maxSeen = 10_000

const none: Collection = { indexes: new Set(), uniques: new Set() }

/**
 * What is declared, as far as this process has seen it. Declarations only grow, so what is known here is true; what is not
 * known here another process may have declared, and is looked up. Uniqueness itself is kept by the database.
 */
export class Collections {
  readonly #schema: string
  readonly #known = new Map<string, Collection>()
  /** Looked up once, declared or not. */
  readonly #seen = new Set<string>()

  constructor(schema: string) {
    this.#schema = quoteIdentifier(schema)
  }

  /** Indexes of a collection that are known to be unique. */
  uniquesOf(collection: string): ReadonlySet<string> {
    return (this.#known.get(collection) ?? none).uniques
  }

  /** Before changes of these collections: takes up what other processes have declared of those not looked at yet. */
  async learn(handle: SqlHandle, collections: ReadonlySet<string>): Promise<void> {
    const unseen = collections.difference(this.#seen)
    if (unseen.size > 0) await this.#refresh(handle, [...unseen])
  }

  /** The database has refused a value: perhaps by a declaration newer than what is known here. */
  doubt(): void {
    this.#seen.clear()
  }

  async #refresh(handle: SqlHandle, collections: readonly string[]): Promise<void> {
    const rows = await rowsOf<{ name: string; indexes: string; uniques: string }>(
      handle,
      `select c.name, array_to_json(c.indexes)::text as indexes, array_to_json(c.uniques)::text as uniques
       from ${this.#schema}.collection c
       join json_to_recordset($1::text::json) as k (c text collate "C") on c.name = k.c`,
      [JSON.stringify(collections.map(c => ({ c })))],
    )
    if (this.#seen.size >= maxSeen) this.#seen.clear()
    for (const name of collections) this.#seen.add(name)
    for (const row of rows)
      this.#add(row.name, JSON.parse(row.indexes) as string[], JSON.parse(row.uniques) as string[])
  }

  /**
   * Before a query or a claim.
   * @throws BUZZER_INVALID_OPTION when nobody has declared the index
   */
  async checkIndex(handle: SqlHandle, collection: string, index: string): Promise<void> {
    if (this.#has(collection, index)) return
    // A name that nobody could declare; PostgreSQL would refuse to look for some of them.
    if (!collection.includes('\0') && collection.isWellFormed()) await this.#refresh(handle, [collection])
    if (this.#has(collection, index)) return
    throw invalid(`collection ${collection} has no index ${index}; declare it before it is queried`, {
      collection,
      index,
    })
  }

  /**
   * Adds indexes to what was declared before. An index that becomes unique waits for the commits under way and makes those
   * after it wait, so none of them misses it.
   *
   * Rejects with BUZZER_INVALID_OPTION, or with BUZZER_CONFLICT when a value stands twice in what is to become unique.
   */
  async declare(transaction: RunTransaction, declarations: readonly CollectionDeclaration[]): Promise<void> {
    for (const declaration of declarations) checkCollection(declaration)
    const missing = declarations.filter(
      ({ name, indexes, unique = [] }) =>
        indexes.some(index => !this.#has(name, index)) || unique.some(index => !this.uniquesOf(name).has(index)),
    )
    if (missing.length === 0) return
    await transaction(async handle => {
      // In one order, so that processes that declare the same collections wait for each other and never in a circle.
      for (const one of missing.toSorted((a, b) => (a.name < b.name ? -1 : 1))) await this.#declare(handle, one)
    })
    for (const { name, indexes, unique = [] } of missing) this.#add(name, indexes, unique)
  }

  async #declare(handle: SqlHandle, { name, indexes, unique = [] }: CollectionDeclaration): Promise<void> {
    const [before] = await rowsOf<{ uniques: string }>(
      handle,
      `select array_to_json(uniques)::text as uniques from ${this.#schema}.collection where name = $1::text for update`,
      [name],
    )
    const known = new Set(before === undefined ? [] : (JSON.parse(before.uniques) as string[]))
    const added = unique.filter(index => !known.has(index))
    if (added.length > 0) await handle.query(`lock table ${this.#schema}.record_index in share row exclusive mode`)
    await handle.query(
      `insert into ${this.#schema}.collection as c (name, indexes, uniques)
       values ($1::text, ${union("'{}'::text[]", '$2')}, ${union("'{}'::text[]", '$3')})
       on conflict (name) do update set indexes = ${union('c.indexes', '$2')}, uniques = ${union('c.uniques', '$3')}`,
      [name, JSON.stringify(indexes), JSON.stringify(unique)],
    )
    for (const index of added) await this.#makeUnique(handle, name, index)
  }

  async #makeUnique(handle: SqlHandle, collection: string, index: string): Promise<void> {
    const [twice] = await rowsOf<{ num: number; txt: string; first: string; second: string }>(
      handle,
      `select num, txt, min(id) as first, max(id) as second from ${this.#schema}.record_index
       where collection = $1::text and name = $2::text group by num, txt having count(*) > 1 limit 1`,
      [collection, index],
    )
    if (twice !== undefined) {
      const value: Scalar = scalarOf(twice.num, twice.txt)
      throw taken(collection, twice.second, index, value, twice.first)
    }
    await handle.query(
      `update ${this.#schema}.record_index set uniq = true where collection = $1::text and name = $2::text and not uniq`,
      [collection, index],
    )
  }

  #has(collection: string, index: string): boolean {
    return this.#known.get(collection)?.indexes.has(index) === true
  }

  #add(name: string, indexes: readonly string[], uniques: readonly string[]): void {
    const known = this.#known.get(name) ?? none
    this.#known.set(name, {
      indexes: new Set([...known.indexes, ...indexes]),
      uniques: new Set([...known.uniques, ...uniques]),
    })
  }
}

/** SQL: an array of text with what a parameter, a list as JSON, adds to it. */
function union(column: string, parameter: string): string {
  return `array(select distinct v from unnest(${column} || array(select json_array_elements_text(${parameter}::text::json))) v order by v)`
}
