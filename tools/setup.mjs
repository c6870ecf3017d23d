// Prepares a checkout for `npm start` and `npm test`: dependencies, the Node the repository brings, the build.
// Runs on whatever Node the machine has (20 or newer), so it uses nothing that is younger than that.
// Each step leaves a stamp and is skipped while its input is unchanged.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const stamps = join(root, 'node_modules', '.buzzer-setup')
const windows = process.platform === 'win32'

/** Runs a command; its exit status. */
function attempt(command, args, extra = {}) {
  // npm is a .cmd on Windows, which only a shell starts; the arguments are constants of this file.
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], shell: windows, ...extra })
  if (result.error) throw result.error
  return result.status ?? 1
}

function run(command, args, extra = {}) {
  const status = attempt(command, args, extra)
  if (status === 0) return
  console.error(`setup: \`${command} ${args.join(' ')}\` failed with ${status}.`)
  process.exit(status)
}

function digest(files) {
  const hash = createHash('sha256')
  for (const file of files)
    hash
      .update(file)
      .update('\0')
      .update(readFileSync(join(root, file)))
      .update('\0')
  return hash.digest('hex')
}

function isDone(stamp, value) {
  const file = join(stamps, stamp)
  return existsSync(file) && readFileSync(file, 'utf8') === value
}

function done(stamp, value) {
  mkdirSync(stamps, { recursive: true })
  writeFileSync(join(stamps, stamp), value)
}

function sources(folder, found = []) {
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    if (entry.name === 'node_modules' || entry.name === 'dist' || entry.name === 'data') continue
    const path = `${folder}/${entry.name}`
    if (entry.isDirectory()) sources(path, found)
    else if (/\.(ts|tsx|json|html|css)$/.test(entry.name)) found.push(path)
  }
  return found.toSorted()
}

/** Removes what was built from a source that is gone: `tsc -b` leaves it, and then it would be packed. */
function removeStale(dist, source) {
  for (const entry of existsSync(dist) ? readdirSync(dist, { withFileTypes: true }) : []) {
    const path = join(dist, entry.name)
    if (entry.isDirectory()) removeStale(path, join(source, entry.name))
    else if (/\.(js|d\.ts)(\.map)?$/.test(entry.name)) {
      const stem = entry.name.replace(/\.(js|d\.ts)(\.map)?$/, '')
      if (!existsSync(join(source, `${stem}.ts`))) rmSync(path)
    }
  }
}

const [major] = process.versions.node.split('.').map(Number)
if (major < 20) {
  console.error(
    `setup: this is Node ${process.version}; Node 20 or newer is needed to install the repository's own Node.`,
  )
  process.exit(1)
}

const installed = digest(['package-lock.json', 'package.json'])
if (!isDone('install', installed)) {
  console.error('setup: installing dependencies …')
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error']
  if (attempt('npm', ['ci', ...quiet]) !== 0) {
    // A registry that lacks packages for other platforms makes some versions of npm doubt the lock file.
    console.error('setup: `npm ci` refused; trying `npm install` …')
    run('npm', ['install', '--no-save', ...quiet])
  }
  done('install', installed)
}

// npm 12 runs no script of a dependency that is not allowed, and then `node` comes without its binary.
const ownNode = join(root, 'node_modules', 'node', 'bin', windows ? 'node.exe' : 'node')
if (!existsSync(ownNode)) {
  console.error("setup: installing the repository's own Node …")
  run(process.execPath, ['installArchSpecificPackage.js'], { cwd: join(root, 'node_modules', 'node'), shell: false })
}
const version = spawnSync(ownNode, ['--version'], { encoding: 'utf8' }).stdout?.trim() ?? 'none'
if (!/^v2[6-9]\./.test(version)) {
  console.error(`setup: the repository's own Node is ${version}, expected v26. Remove node_modules and try again.`)
  process.exit(1)
}

const built = digest(['tsconfig.json', 'tsconfig.base.json', ...sources('packages')])
if (!isDone('build', built) || !existsSync(join(root, 'packages', 'buzzer', 'dist', 'index.js'))) {
  console.error('setup: building …')
  run(process.execPath, [join('node_modules', 'typescript', 'bin', 'tsc'), '-b'], { shell: false })
  for (const name of readdirSync(join(root, 'packages'))) {
    removeStale(join(root, 'packages', name, 'dist'), join(root, 'packages', name, 'src'))
  }
  done('build', built)
}
