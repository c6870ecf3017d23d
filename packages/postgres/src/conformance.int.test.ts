import { runCases, transportConformance } from 'buzzer/testing'
import { service } from 'buzzer-servers'
import { afterAll, describe, test } from 'vitest'
import { ownSchema } from '../test/own-schema.ts'
import { postgres } from './postgres.ts'

const { url = '' } = await service('postgres')

describe.skipIf(url === '')('postgres()', () => {
  const world = ownSchema(url)
  afterAll(() => world[Symbol.asyncDispose]())
  for (const clients of ['one', 'two'] as const) {
    runCases(
      transportConformance({
        name: 'postgres',
        clients,
        // Machines that run tests are busy, and one case carries 64 MiB there and back.
        patienceMs: 25_000,
        lateMs: 3_000,
        create: () => postgres({ connectionString: url, schema: world.schema }),
        transaction: work => world.transaction(work),
      }),
      test,
    )
  }
})
