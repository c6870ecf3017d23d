/**
 * `npm run soak:steady -- [--seconds 60] [--rate 10000] [--backlog 100000] [--folder path]`: a steady load over a steady backlog.
 * The long form is `--seconds 1800`. The rate is judged in runs of a minute or more.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { judgeSoak } from './judge.ts'
import { runSoak } from './run.ts'
import type { Sample } from './sample.ts'

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    rate: { type: 'string', default: '10000' },
    backlog: { type: 'string', default: '100000' },
    folder: { type: 'string' },
  },
})
const [seconds, rate, backlog] = [values.seconds, values.rate, values.backlog].map(Number) as [number, number, number]
if (!(seconds >= 5) || !(rate > 0) || !(backlog >= 0)) {
  console.error('soak:steady: --seconds is 5 or more, --rate above 0, --backlog 0 or more')
  process.exit(2)
}
/** A slow machine's rate over a few seconds says nothing about the broker. */
const isRateJudged = seconds >= 60
const folder = values.folder ?? mkdtempSync(join(tmpdir(), 'buzzer-soak-'))
mkdirSync(folder, { recursive: true })
console.log(
  `soak:steady: ${seconds} s at ${rate}/s over a backlog of ${backlog} messages of 200 B, fsync, in ${folder}`,
)

const line = ({ seconds, rate, memoryBytes, databaseBytes, walBytes }: Sample): string => {
  const sizes = [memoryBytes, databaseBytes, walBytes].map(bytes => `${(bytes / 2 ** 20).toFixed(0).padStart(6)} MiB`)
  return `${seconds.toFixed(0).padStart(6)} s ${Math.round(rate).toString().padStart(7)}/s ${sizes.join(' ')}`
}
const everySamples = Math.max(1, Math.floor(seconds / 30))
let seen = 0
console.log('  after    rate       memory   database   write-ahead')
const { samples, handled, violations } = await runSoak({
  path: join(folder, 'soak.db'),
  seconds,
  rate,
  backlog,
  onSample(sample) {
    if (seen++ % everySamples === 0) console.log(line(sample))
  },
})
let failures = violations.length
for (const { what, figure, holds } of judgeSoak(samples, rate)) {
  const isJudged = isRateJudged || !what.startsWith('rate')
  if (!holds && isJudged) failures++
  console.log(
    `${holds ? 'holds ' : isJudged ? 'FAILED' : 'missed'} ${what}: ${figure}${isJudged ? '' : ' (not judged below 60 s)'}`,
  )
}
for (const violation of violations.slice(0, 50)) console.log(`VIOLATION: ${violation}`)
console.log(`soak:steady: ${handled} messages handled under load, ${failures} violations`)
if (failures === 0 && values.folder === undefined) rmSync(folder, { recursive: true })
process.exitCode = failures === 0 ? 0 : 1
