/** The statements of the store for one schema (its quoted name); what they do stands in the migration. */
export interface RecordStatements {
  /** $1 keys. */
  readonly lock: string
  /** $1 values of unique indexes. */
  readonly holders: string
  /** $1 keys of records, $2 index values. */
  readonly remove: string
  /** $1 records, $2 new index values. */
  readonly insert: string
  /** $1 records, $2 new index values. */
  readonly update: string
  /** $1 collection, $2 id. */
  readonly get: string
  /** $1 collection, $2 index, $3 $4 index value up to which, $5 limit, $6 lease, $7 owner. */
  readonly claim: string
  /** $1 how many at most. */
  readonly expired: string
  /** $1 keys. */
  readonly versions: string
}

export function recordStatements(schema: string): RecordStatements {
  return {
    lock: `select * from ${schema}.record_lock($1::text)`,
    holders: `select * from ${schema}.record_holders($1::text)`,
    remove: `select ${schema}.record_remove($1::text, $2::text) as records`,
    insert: `select * from ${schema}.record_insert($1::text, $2::text)`,
    update: `select ${schema}.record_update($1::text, $2::text) as records`,
    get: `select * from ${schema}.record_get($1::text, $2::text)`,
    claim: `select * from ${schema}.record_claim($1::text, $2::text, $3::double precision, $4::text, $5::integer,
      $6::double precision, $7::text)`,
    expired: `select * from ${schema}.record_expired($1::integer)`,
    versions: `select * from ${schema}.record_versions($1::text)`,
  }
}
