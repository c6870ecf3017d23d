// npm run bench -- [suite …] [--rounds 5] [--seconds 3] [--dir folder] [--save]
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { machineFacts } from './machine.ts'
import { reportCase } from './report.ts'
import { runCase } from './runner.ts'
import type { Suite } from './suite.ts'

const here = fileURLToPath(new URL('.', import.meta.url))
const known = readdirSync(join(here, 'suites'))
  .filter(file => /^[a-z-]+\.ts$/.test(file))
  .map(file => file.slice(0, -'.ts'.length))
  .toSorted()

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    case: { type: 'string' },
    dir: { type: 'string', default: join(here, '..', 'data') },
    save: { type: 'boolean', default: false },
  },
})
const rounds = Number(values.rounds)
const seconds = Number(values.seconds)
const unknown = positionals.filter(name => !known.includes(name))
if (unknown.length > 0 || !(Number.isInteger(rounds) && rounds > 0) || !(seconds > 0)) {
  console.error(
    `usage: npm run bench -- [${known.join(' | ')}] … [--case text] [--rounds 5] [--seconds 3] [--dir folder] [--save]`,
  )
  process.exit(2)
}

mkdirSync(values.dir, { recursive: true })
const folder = mkdtempSync(join(values.dir, 'run-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130))

const head = Object.entries(machineFacts(folder)).map(([name, value]) => `- ${name}: ${value}`)
head.push(`- rounds: ${rounds} of about ${seconds} s, interleaved; each contender in a process of its own`)
console.log(`${head.join('\n')}\n`)

for (const name of positionals.length > 0 ? positionals : known) {
  const { suite } = (await import(`./suites/${name}.ts`)) as { suite: Suite }
  const report = [`## ${suite.title}`]
  console.log(`${report[0]}\n`)
  for (const bench of suite.cases.filter(each => values.case === undefined || each.name.includes(values.case))) {
    const text = reportCase(bench, await runCase(bench, { suite: name, folder, rounds, seconds }))
    report.push(text)
    console.log(`${text}\n`)
  }
  if (values.save) {
    const file = join(here, '..', 'results', `${name}.md`)
    mkdirSync(join(file, '..'), { recursive: true })
    writeFileSync(file, `# ${suite.title}\n\n${head.join('\n')}\n\n${report.slice(1).join('\n\n')}\n`)
  }
}
