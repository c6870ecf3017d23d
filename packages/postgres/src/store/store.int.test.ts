import { runCases, storeConformance } from 'buzzer/testing'
import { service } from 'buzzer-servers'
import { afterAll, describe, test } from 'vitest'
import { ownSchema } from '../../test/own-schema.ts'
import { postgresStore } from './postgres-store.ts'

const { url = '' } = await service('postgres')

describe.skipIf(url === '')('postgresStore()', () => {
  const world = ownSchema(url)
  afterAll(() => world[Symbol.asyncDispose]())
  runCases(
    storeConformance({
      name: 'postgresStore()',
      create: () => postgresStore({ connectionString: url, schema: world.schema }),
      transaction: work => world.transaction(work),
    }),
    test,
  )
  runCases(
    storeConformance({
      name: 'postgresStore() without notifications',
      create: () => postgresStore({ pool: world.pool, schema: world.schema, notify: false, pollMs: 20 }),
      transaction: work => world.transaction(work),
    }),
    test,
  )
})
