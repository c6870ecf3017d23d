import { busConformance, runCases } from 'buzzer/testing'
import { service } from 'buzzer-servers'
import { afterAll, describe, test } from 'vitest'
import { ownSchema } from '../test/own-schema.ts'
import { postgres } from './postgres.ts'

const { url = '' } = await service('postgres')

describe.skipIf(url === '')('a bus on postgres()', () => {
  const world = ownSchema(url)
  afterAll(() => world[Symbol.asyncDispose]())
  runCases(
    busConformance({
      name: 'postgres',
      create: () => postgres({ connectionString: url, schema: world.schema }),
      // A bus starts with a dozen round trips, on a machine that has more to do.
      startMs: 500,
    }),
    test,
  )
})
