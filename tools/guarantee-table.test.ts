import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { withGuaranteeTable } from './guarantee-table.ts'

test('the table in README.md is the one that the capabilities give; `npm run guarantees` writes it', () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  expect(readme).toBe(withGuaranteeTable(readme))
})
