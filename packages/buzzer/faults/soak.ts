/**
 * `npm run soak -- [--seconds 60] [--seed n]`: the kill test. Two producers and two consumers on one file, one of them killed
 * with SIGKILL every second or so and replaced, the owner more often than the others; then all is drained and judged as one
 * history. The variants, and every other fault, are in `npm run faults`.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { readJournals } from '../src/testing/index.ts'
import { Crew } from './crew.ts'
import { anyOne } from './kinds/kill.ts'
import { freshPlace } from './once.ts'
import { randomFrom } from './random.ts'

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string' } },
})
const seconds = Number(values.seconds)
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31))
if (!(seconds > 0) || !Number.isSafeInteger(seed)) {
  console.error('soak: --seconds is a number above 0, --seed a whole number')
  process.exit(2)
}
console.log(`soak: ${seconds} s, seed ${seed}; again with: npm run soak -- --seconds ${seconds} --seed ${seed}`)

const folder = mkdtempSync(join(tmpdir(), 'buzzer-soak-'))
const place = freshPlace(folder)
const random = randomFrom(seed)
const crew = new Crew({ place, random })
const figures = { kills: 0, ownerKills: 0 }
try {
  await crew.start()
  for (const until = performance.now() + seconds * 1_000; performance.now() < until; ) {
    const owner = crew.ownerSlot()
    const victims = await anyOne(crew, { random })
    figures.kills += victims.length
    if (victims.includes(owner)) figures.ownerKills++
    for (const slot of victims) crew.restart(slot)
  }
  console.log(`soak: the faults end after ${figures.kills} kills, ${figures.ownerKills} of them of the owner`)
  const violations = await crew.finish()
  const history = readJournals(place.journals)
  const count = (as: (typeof history)[number]['as']): number => history.filter(record => record.as === as).length
  console.log(`soak: ${count('send')} messages sent, ${count('begun')} deliveries begun, ${count('answered')} answered`)
  for (const { rule, what } of violations.slice(0, 50)) console.log(`VIOLATION of ${rule}: ${what}`)
  if (violations.length === 0) rmSync(folder, { recursive: true })
  else console.log(`soak: file and journals are kept in ${folder}`)
  console.log(`soak: ${violations.length === 0 ? 'no violation' : `${violations.length} violations`}`)
  process.exitCode = violations.length === 0 ? 0 : 1
} finally {
  await crew.end()
}
