import { randomBytes } from 'node:crypto'
import { silentLogger, systemClock } from 'buzzer'
import type { PutRecord, Store } from 'buzzer/store'
import type { Tx } from '../src/sql-handle.ts'
import { postgresStore, type PostgresStoreOptions } from '../src/store/postgres-store.ts'

/** A connected store, as another process would have. `bus`: `buzzer:<bus>` is the application name of its connections. */
export async function openStore(
  options: PostgresStoreOptions,
  bus = `store-${randomBytes(4).toString('hex')}`,
): Promise<Store<Tx>> {
  const store = postgresStore(options)
  await store.connect({ bus, instanceId: bus, clock: systemClock, logger: silentLogger })
  return store
}

export function put(collection: string, id: string, more: Partial<PutRecord> = {}): PutRecord {
  return { op: 'put', collection, id, value: { id }, expected: 'any', ...more }
}
