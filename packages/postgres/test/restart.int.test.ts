import { runCases, transportConformance } from 'buzzer/testing'
import { afterAll, describe, test } from 'vitest'
import { postgres } from '../src/index.ts'
import { privatePostgres } from './private-postgres.ts'

const { server } = await privatePostgres()

describe.skipIf(server === undefined)('postgres() over an immediate stop of its server', () => {
  afterAll(() => server?.[Symbol.asyncDispose]())
  const cases = transportConformance({
    name: 'postgres, restarted',
    create: () => postgres({ connectionString: server?.url ?? '' }),
    async restartBroker() {
      await server?.stopAtOnce()
      await server?.start()
    },
  })
  // The others run on the shared server, where they need no restart.
  const restarting = cases.filter(({ name }) => /restart|survive/.test(name.replace('postgres, restarted', '')))
  runCases(restarting, test)
})
