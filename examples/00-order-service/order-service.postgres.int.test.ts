import { service } from 'buzzer-servers'
import { describe } from 'vitest'
import { makeDatabase } from './database.ts'
import { walkOrderService } from './walk.ts'

const { url = '', reason } = await service('postgres')

describe.skipIf(reason !== undefined)('with a server', () => {
  walkOrderService('on PostgreSQL', async () => {
    const database = await makeDatabase(url)
    return {
      environment: { BUZZER_TRANSPORT: database.url },
      [Symbol.asyncDispose]: () => database[Symbol.asyncDispose](),
    }
  })
})
