import { mkdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { ActionBlock, BroadcastBlock, pipeline, TransformBlock } from 'buzzer/dataflow'
import { Catalogue, type Row } from './catalogue.ts'
import { type InstalledPackage, packageFolders, readPackage } from './installed-packages.ts'

const nodeModules = fileURLToPath(new URL('../../node_modules', import.meta.url))
const data = fileURLToPath(new URL('./data/', import.meta.url))
mkdirSync(data, { recursive: true })
using catalogue = new Catalogue(`${data}packages.db`)

// Per-key order: eight packages at once, but those of one licence one after the other, in order. So the counter of a
// licence needs no lock, although the function waits in the middle of it.
const counters = new Map<string, number>()
const numbered = new TransformBlock<InstalledPackage, Row>(
  async ({ name, version, licence, text }) => {
    const before = counters.get(licence) ?? 0
    await new Promise(resolve => setImmediate(resolve))
    counters.set(licence, before + 1)
    return { name, version, licence, words: text.match(/\w+/g)?.length ?? 0, number: before + 1 }
  },
  { parallel: 8, key: ({ licence }) => licence },
)

// File to database. Every step is bounded: when the table is slow, no further file is opened.
let batches = 0
const files = pipeline
  .from(packageFolders(nodeModules), { name: 'catalogue', capacity: 64 })
  .map(readPackage, { parallel: 8, onError: 'skip' }) // results in input order; a folder that is no package is left out
  .through(numbered)
  .batch(50, { maxWaitMs: 100 })
  .flatMap(rows => {
    batches++
    catalogue.insert(rows)
    return rows
  })

// Fan-out: every row goes to three blocks. Fan-in: what they find goes to one, which ends when all three have.
const rows = new BroadcastBlock<Row>()
const findings = new Map<string, number>()
const report = new ActionBlock<[what: string, howMany: number]>(([what, howMany]) => {
  findings.set(what, (findings.get(what) ?? 0) + howMany)
})
for (const [what, measure] of [
  ['packages', () => 1],
  ['words of licence text', row => row.words],
  ['packages without a licence text', row => (row.words === 0 ? 1 : 0)],
] satisfies [string, (row: Row) => number][]) {
  const branch = new TransformBlock<Row, [string, number]>(row => [what, measure(row)])
  rows.link(branch)
  branch.link(report)
}

await files.to(rows).completion
await report.completion

console.log(`${findings.get('packages')} packages read, numbered and saved in ${batches} batches`)
console.log(
  `${findings.get('words of licence text')} words of licence text, ${findings.get('packages without a licence text')} packages without`,
)
console.log(
  `${catalogue.figure('SELECT count(*) FROM packages')} rows in the table, ${catalogue.figure('SELECT count(DISTINCT licence) FROM packages')} licences`,
)
const gaps = catalogue.figure(
  'SELECT count(*) FROM (SELECT licence FROM packages GROUP BY licence HAVING max(number) <> count(*) OR min(number) <> 1)',
)
const disorder = catalogue.figure(
  'SELECT count(*) FROM (SELECT number - lag(number) OVER (PARTITION BY licence ORDER BY rowid) AS step FROM packages) WHERE step <> 1',
)
console.log(
  `numbers of each licence without gap: ${gaps === 0 ? 'yes' : 'no'}, in order: ${disorder === 0 ? 'yes' : 'no'}`,
)
