import { eventLogConformance, runCases } from 'buzzer/testing'
import { service } from 'buzzer-servers'
import { afterAll, describe, test } from 'vitest'
import { ownSchema } from '../../test/own-schema.ts'
import { postgres } from '../index.ts'

const { url = '' } = await service('postgres')

describe.skipIf(url === '')('the event log of PostgreSQL', () => {
  const world = ownSchema(url)
  afterAll(() => world[Symbol.asyncDispose]())
  runCases(
    eventLogConformance({
      name: 'log of postgres()',
      create: () => postgres({ connectionString: url, schema: world.schema }).log,
      restart: () => Promise.resolve(),
      transaction: work => world.transaction(work),
    }),
    test,
  )
})
