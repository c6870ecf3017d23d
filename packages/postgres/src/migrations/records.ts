import type { Migration } from './migration.ts'
import { recordFunctions } from './record-functions.ts'

/**
 * The store.
 *
 * - `value` is `json`, not `jsonb`: jsonb reorders keys, rewrites numbers and refuses `\u0000`; what was put must come out.
 * - `indexes` are all index values of a record, declared or not: by it the rows of `record_index` are found when it changes.
 * - An index value is (number, text): numbers are (n, ''), text is (Infinity, text). So numbers sort before text, and one
 *   row comparison serves every range and every page.
 * - Text sorts by bytes (`collate "C"`), whatever the locale of the database.
 * - `uniq` marks values of indexes declared unique; a partial index enforces them.
 */
export const records: Migration = {
  number: 1,
  name: 'records',
  sql: schema => `
create table ${schema}.collection (
  name text collate "C" primary key,
  indexes text[] not null,
  uniques text[] not null
);
create table ${schema}.record (
  collection text collate "C" not null,
  id text collate "C" not null,
  version integer not null,
  updated_at timestamptz not null,
  expires_at timestamptz,
  lease_owner text,
  lease_until timestamptz,
  indexes json not null,
  value json not null,
  primary key (collection, id)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
create index record_expires on ${schema}.record (expires_at) where expires_at is not null;
create table ${schema}.record_index (
  collection text collate "C" not null,
  name text collate "C" not null,
  num double precision not null,
  txt text collate "C" not null,
  id text collate "C" not null,
  uniq boolean not null,
  primary key (collection, name, num, txt, id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
create unique index record_index_unique on ${schema}.record_index (collection, name, num, txt) where uniq;
${recordFunctions(schema)}`,
}
