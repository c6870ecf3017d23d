/**
 * The fault programme of the embedded broker, spec broker 13. README.md beside this file says what each kind does.
 *
 *   npm run faults -- [--short] [--only kill,power,…] [--count n] [--seed n]
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { kinds } from './kinds.ts'
import { randomFrom } from './random.ts'
import { FaultReport } from './report.ts'

const { values } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    only: { type: 'string' },
    seed: { type: 'string' },
    count: { type: 'string' },
  },
})
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31))
const count = values.count === undefined ? undefined : Number(values.count)
const names = kinds.map(({ name }) => name)
const wanted = new Set(values.only?.split(',') ?? names)
const unknown = [...wanted].filter(name => !names.includes(name))
if (unknown.length > 0 || !Number.isSafeInteger(seed) || !(count === undefined || count > 0)) {
  console.error(`faults: --only takes some of ${names.join(',')}; --seed a whole number, --count a number above 0`)
  process.exit(2)
}
const options = [
  ...(values.short ? ['--short'] : []),
  ...(values.only === undefined ? [] : ['--only', values.only]),
  ...(count === undefined ? [] : ['--count', count]),
]
console.log(`fault programme, seed ${seed}; repeat with: npm run faults -- ${[...options, '--seed', seed].join(' ')}`)

const folder = mkdtempSync(join(tmpdir(), 'buzzer-faults-'))
const report = new FaultReport()
const size = values.short ? 'short' : 'long'
try {
  for (const [index, { name, what, missing, run }] of kinds.entries()) {
    if (!wanted.has(name)) continue
    const why = missing()
    if (why !== undefined) {
      report.skipped(name, why)
      continue
    }
    const startedAt = performance.now()
    const [before, foundBefore] = [report.count(), report.found.length]
    console.log(`${name}: ${what}`)
    const own = join(folder, name)
    mkdirSync(own)
    await run({ folder: own, random: randomFrom(seed + 7_919 * index), report, size, count })
    rmSync(own, { recursive: true, force: true })
    const seconds = Math.round((performance.now() - startedAt) / 1_000)
    const found = report.found.length - foundBefore
    console.log(`${name}: ${report.count() - before} faults, ${found} violations, ${seconds} s`)
    if (found > 0) {
      const again = ['--only', name, ...(values.short ? ['--short'] : []), '--seed', seed]
      console.log(`${name}: repeat with: npm run faults -- ${again.join(' ')}`)
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
console.log(report.toString())
process.exitCode = report.found.length === 0 ? 0 : 1
