import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, test } from 'vitest'
import { embedded } from '../broker/index.ts'
import { busConformance } from './bus-conformance.ts'
import { runCases } from './conformance/case.ts'

const folder = mkdtempSync(join(tmpdir(), 'buzzer-bus-'))

afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
})

runCases(
  busConformance({
    name: 'embedded',
    create: () => embedded({ path: join(folder, 'suite.db') }),
    patienceMs: 20_000,
  }),
  test.concurrent,
)
