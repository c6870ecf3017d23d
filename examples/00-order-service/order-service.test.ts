import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { walkOrderService } from './walk.ts'

walkOrderService('on a file', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'buzzer-order-service-'))
  return {
    environment: { BUZZER_TRANSPORT: join(folder, 'shop.db') },
    [Symbol.asyncDispose]: async () => rmSync(folder, { recursive: true, force: true }),
  }
})
