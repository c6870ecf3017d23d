// Checks what users get: the packed tarball, installed without scripts, must run a first program.
// node tools/check-packages.mjs [check …]; without arguments all of them. Each check is one line and one verdict.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const folder = join(root, 'packages', 'buzzer')
/** Every package that is published, the core first. */
const folders = [
  folder,
  ...readdirSync(join(root, 'packages'))
    .map(name => join(root, 'packages', name))
    .filter(path => path !== folder && existsSync(join(path, 'package.json')) && manifestOf(path).private !== true),
]
const maxInstallBytes = 8 * 1024 * 1024
const licences = ['MIT', 'ISC', 'BSD-2-Clause', 'BSD-3-Clause', 'Apache-2.0']

function manifestOf(path) {
  return JSON.parse(readFileSync(join(path, 'package.json'), 'utf8'))
}

/** Runs a program and returns what it printed; its failure is the check's. */
function run(command, args, cwd) {
  const result = spawnSync(command, args, { cwd, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 })
  if (result.error) throw result.error
  if (result.status !== 0) {
    throw new Error(`\`${command} ${args.join(' ')}\` ended with ${result.status}:\n${result.stdout}${result.stderr}`)
  }
  return result.stdout
}

function* files(start) {
  for (const entry of readdirSync(start, { withFileTypes: true })) {
    const path = join(start, entry.name)
    if (entry.isDirectory()) yield* files(path)
    else if (entry.isFile()) yield path
  }
}

/** A user's project in a temporary folder with the packed tarballs in it, installed as `npm ci --ignore-scripts` does. */
function install(work, which) {
  const dependencies = {}
  for (const path of which) {
    const [tarball] = run('npm', ['pack', '--pack-destination', work, '--loglevel=error'], path)
      .trim()
      .split('\n')
      .slice(-1)
    dependencies[manifestOf(path).name] = `file:${tarball}`
  }
  writeFileSync(
    join(work, 'package.json'),
    JSON.stringify({ name: 'first-program', private: true, type: 'module', dependencies }),
  )
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error']
  run('npm', ['install', '--package-lock-only', ...quiet], work)
  run('npm', ['ci', '--ignore-scripts', ...quiet], work)
  return join(work, 'node_modules')
}

/** The core alone, or what is given. */
function withInstall(act, which = [folder]) {
  const work = mkdtempSync(join(tmpdir(), 'buzzer-install-'))
  try {
    return act(install(work, which), work)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** The package.json of every package below `modules`. */
function manifests(modules) {
  return [...files(modules)]
    .filter(path => /node_modules\/(@[^/]+\/)?[^/]+\/package\.json$/.test(path.replaceAll('\\', '/')))
    .map(path => JSON.parse(readFileSync(path, 'utf8')))
}

/** The README's first program and the command, as a user's project has them, on the Node at `node`. */
function runFirstProgram(work, node) {
  const example = join(root, 'examples', '01-first-steps')
  writeFileSync(join(work, 'main.ts'), readFileSync(join(example, 'main.ts')))
  const expected = readFileSync(join(example, 'expected-output.txt'), 'utf8')
  const printed = run(node, ['main.ts'], work)
  if (printed !== expected) throw new Error(`it printed\n${printed}instead of\n${expected}`)
  const help = run(node, [join('node_modules', 'buzzer', 'bin', 'buzzer.js'), '--help'], work)
  if (!help.includes('dead-letters')) throw new Error(`\`buzzer --help\` printed\n${help}`)
}

const checks = {
  'stale build'() {
    const left = folders.flatMap(one =>
      [...files(join(one, 'dist'))]
        .filter(path => path.endsWith('.js'))
        .filter(path => !existsSync(join(one, 'src', relative(join(one, 'dist'), path).replace(/\.js$/, '.ts'))))
        .map(path => relative(root, path)),
    )
    if (left.length > 0) throw new Error(`dist has files without a source, remove them: ${left.join(', ')}`)
  },

  publint() {
    for (const one of folders) run('publint', ['run', '--strict', '--pack', 'npm', one], root)
  },

  attw() {
    for (const one of folders) run('attw', ['--pack', one, '--profile', 'esm-only'], root)
  },

  'first program'() {
    return withInstall((_modules, work) => runFirstProgram(work, process.execPath))
  },

  'first program on the oldest Node'() {
    const floor = /^>=(\d+\.\d+)$/.exec(manifestOf(folder).engines.node)?.[1]
    if (floor === undefined) throw new Error('`engines.node` is not of the form >=24.16')
    const place = mkdtempSync(join(tmpdir(), 'buzzer-floor-'))
    try {
      // The package brings its binary by an install script.
      writeFileSync(join(place, 'package.json'), JSON.stringify({ private: true, allowScripts: { node: true } }))
      run('npm', ['install', `node@${floor}.0`, '--no-audit', '--no-fund', '--loglevel=error'], place)
      const oldest = join(place, 'node_modules', 'node', 'bin', 'node')
      withInstall((_modules, work) => runFirstProgram(work, oldest))
      return run(oldest, ['--version'], place).trim()
    } finally {
      rmSync(place, { recursive: true, force: true })
    }
  },

  'install size'() {
    return withInstall(modules => {
      const bytes = [...files(modules)].reduce((sum, path) => sum + statSync(path).size, 0)
      const size = `${(bytes / 1024 / 1024).toFixed(2)} MiB`
      if (bytes > maxInstallBytes) throw new Error(`an install takes ${size}; at most 8 MiB are allowed`)
      return size
    })
  },

  'no native code, no install script'() {
    return withInstall(modules => {
      const native = [...files(modules)].filter(path => /\.(node|gyp|so|dll|dylib|wasm)$/.test(path))
      const scripted = manifests(modules)
        .filter(({ scripts = {} }) => ['preinstall', 'install', 'postinstall'].some(name => name in scripts))
        .map(({ name }) => `install script in ${name}`)
      const found = [...native.map(path => relative(modules, path)), ...scripted]
      if (found.length > 0) throw new Error(found.join(', '))
    }, folders)
  },

  licences() {
    return withInstall(modules => {
      const all = manifests(modules).filter(({ name, version }) => name && version)
      const wrong = all.filter(({ license }) => !licences.includes(license))
      if (wrong.length > 0) throw new Error(wrong.map(({ name, license }) => `${name}: ${license}`).join(', '))
      return all.map(({ name, license }) => `${name} ${license}`).join(', ')
    }, folders)
  },
}

const wanted = process.argv.slice(2)
const unknown = wanted.filter(name => !(name in checks))
if (unknown.length > 0) {
  console.error(`unknown: ${unknown.join(', ')}; there are ${Object.keys(checks).join(', ')}`)
  process.exit(2)
}
let failures = 0
for (const [name, check] of Object.entries(checks)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue
  try {
    const remark = check()
    console.log(`ok      ${name}${remark ? `: ${remark}` : ''}`)
  } catch (error) {
    failures++
    console.log(`FAILED  ${name}: ${error.message}`)
  }
}
process.exit(failures > 0 ? 1 : 0)
