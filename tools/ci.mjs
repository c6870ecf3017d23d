// The checks of `.ci/run`, one after the other. Runs on whatever Node the machine has (20 or newer).
// Tests count as vitest counts them; every other check counts as one.
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const bin = join(root, 'node_modules', '.bin')
const totalLimitMs = 45 * 60_000
const startedAt = Date.now()
const scratch = mkdtempSync(join(tmpdir(), 'buzzer-ci-'))
/** The process group of the command that runs now; it must not outlive this one. */
let running
const counts = { passed: 0, failed: 0, skipped: 0 }
const failures = []
/** Names of the tests that failed, each with the first lines of its error: said again at the end, where a reader looks. */
const failedTests = []

/** Servers that tests use: one that answers on its port, or one that they start themselves with the program named. */
const servers = [
  { name: 'rabbitmq', port: 5672, program: 'rabbitmq-server', debian: 'rabbitmq-server' },
  { name: 'postgres', port: 5432, program: 'initdb', debian: 'postgresql' },
]

/** Whether a program is on the path, or where Debian keeps those of PostgreSQL. */
function isInstalled(program) {
  const postgres = '/usr/lib/postgresql'
  const versions = existsSync(postgres) ? readdirSync(postgres).map(version => join(postgres, version, 'bin')) : []
  return [...(process.env.PATH ?? '').split(delimiter), ...versions].some(folder => existsSync(join(folder, program)))
}

function answers(port) {
  return new Promise(resolve => {
    const socket = connect({ port, host: '127.0.0.1' })
    const settle = verdict => {
      socket.destroy()
      resolve(verdict)
    }
    socket.setTimeout(1_000, () => settle(false))
    socket.once('connect', () => settle(true))
    socket.once('error', () => settle(false))
  })
}

/** Runs a command with its output shown; kills its whole process group at the limit. Resolves to whether it exited 0. */
function run(command, args, { limitMs = 5 * 60_000, env = {} } = {}) {
  const leftMs = Math.min(limitMs, totalLimitMs - (Date.now() - startedAt))
  return new Promise(resolve => {
    const child = spawn(command, args, {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
      detached: true,
      env: { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}`, ...env },
    })
    running = child.pid
    const limit = setTimeout(
      () => {
        console.log(`\`${command} ${args.join(' ')}\` took longer than ${Math.round(leftMs / 1_000)} s: killed`)
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
      },
      Math.max(1_000, leftMs),
    )
    child.once('error', error => {
      clearTimeout(limit)
      console.log(error.message)
      resolve(false)
    })
    child.once('exit', code => {
      running = undefined
      clearTimeout(limit)
      resolve(code === 0)
    })
  })
}

async function check(name, command, args, options) {
  console.log(`\n=== ${name}`)
  const began = Date.now()
  const passed = await run(command, args, options)
  counts[passed ? 'passed' : 'failed']++
  if (!passed) failures.push(name)
  console.log(`=== ${name}: ${passed ? 'passed' : 'FAILED'} after ${((Date.now() - began) / 1_000).toFixed(1)} s`)
  return passed
}

async function tests() {
  const required = []
  for (const { name, port, program } of servers) {
    if ((await answers(port)) || isInstalled(program)) required.push(name)
    else console.log(`${name} does not answer on port ${port}, and there is no ${program}: its tests will be skipped`)
  }
  const require = [...new Set([...(process.env.BUZZER_TEST_REQUIRE ?? '').split(','), ...required])].filter(Boolean)
  const file = join(scratch, 'vitest.json')
  console.log(`\n=== tests (servers that must be used: ${require.join(', ') || 'none'})`)
  const reporters = ['default', './servers/src/skip-report.ts', 'json'].map(name => `--reporter=${name}`)
  const args = ['test', '--', ...reporters, `--outputFile.json=${file}`]
  const passed = await run('npm', args, { limitMs: 25 * 60_000, env: { BUZZER_TEST_REQUIRE: require.join(',') } })
  const report = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined
  counts.passed += report?.numPassedTests ?? 0
  counts.failed += report?.numFailedTests ?? 0
  counts.skipped += (report?.numPendingTests ?? 0) + (report?.numTodoTests ?? 0)
  // A file that does not load, or an error outside of any test, fails the run without failing a test.
  if (!passed && !report?.numFailedTests) counts.failed++
  if (!passed) failures.push('tests')
  for (const { name, assertionResults, message } of report?.testResults ?? []) {
    const path = relative(root, name)
    if (message) failedTests.push(`${path}\n${firstLines(message)}`)
    for (const { status, fullName, failureMessages } of assertionResults) {
      if (status === 'failed') failedTests.push(`${path} > ${fullName}\n${firstLines(failureMessages.join('\n'))}`)
    }
  }
}

function firstLines(text) {
  return text.split('\n').slice(0, 12).join('\n')
}

/** Examples that end by themselves say so with a script `check`; those that serve are driven by their own tests. */
function examplesWithCheck() {
  return readdirSync(join(root, 'examples')).filter(name => {
    const manifest = join(root, 'examples', name, 'package.json')
    return existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).scripts?.check !== undefined
  })
}

/** What the fault tests use where it is there: faults at system calls, a shim for writes, the power of a loop device. */
const debianPackages = { strace: 'strace', 'mkfs.ext4': 'e2fsprogs', gcc: 'gcc libc6-dev' }

async function programs() {
  const missing = Object.entries(debianPackages).filter(([program]) => !isInstalled(program))
  const wanted = missing.flatMap(([, debian]) => debian.split(' '))
  for (const { port, program, debian } of servers) {
    if (!(await answers(port)) && !isInstalled(program)) wanted.push(debian)
  }
  if (wanted.length === 0) return
  if (process.getuid?.() !== 0 || !isInstalled('apt-get')) {
    console.log(`not here, and not installable from here: ${wanted.join(', ')}`)
    return
  }
  const env = { DEBIAN_FRONTEND: 'noninteractive' }
  await run('apt-get', ['update', '-qq'], { limitMs: 120_000, env })
  await run('apt-get', ['install', '-y', '-qq', ...wanted], { limitMs: 240_000, env })
}

process.once('exit', () => rmSync(scratch, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    if (running !== undefined) process.kill(-running, 'SIGKILL')
    process.exit(1)
  })
}

await programs()
if (await check('set-up', 'npm', ['run', '--silent', 'setup'], { limitMs: 10 * 60_000 })) {
  await tests()
  await check('lint', 'oxlint', ['--type-aware', '--deny-warnings'])
  await check('format', 'biome', ['format', '.'])
  await check('unused code and dependencies', 'knip', [])
  await check('types', 'npm', ['run', '--silent', 'types'])
  const packageChecks = [
    'stale build',
    'publint',
    'attw',
    'first program',
    'first program on the oldest Node',
    'install size',
    'no native code, no install script',
    'licences',
  ]
  for (const name of packageChecks) await check(`package: ${name}`, 'node', ['tools/check-packages.mjs', name])
  for (const name of examplesWithCheck()) {
    await check(`example ${name}`, 'npm', ['run', '--silent', 'check', '-w', join('examples', name)])
  }
  // Deaths and errors at each system call are among the tests.
  const kinds = 'kill,sync-order,shim,power,lying-sync,damage,clock,stop,rude'
  const faults = ['run', '--silent', 'faults', '--', '--short', '--only', kinds]
  await check('fault programme, short', 'npm', faults, { limitMs: 6 * 60_000 })
  await check('soak, 10 s', 'npm', ['run', '--silent', 'soak', '--', '--seconds', '10'], { limitMs: 120_000 })
}

for (const failed of failedTests) console.log(`\nFAILED ${failed}`)
console.log(
  `\nafter ${Math.round((Date.now() - startedAt) / 1_000)} s${failures.length > 0 ? `; FAILED: ${failures.join(', ')}` : ''}`,
)
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`)
process.exit(counts.failed > 0 ? 1 : 0)
