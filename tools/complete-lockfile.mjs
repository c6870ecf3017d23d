// Adds to package-lock.json the optional packages of other platforms that the registry in use does not have.
// A mirror may carry the packages of some platforms only; npm then leaves the others out of the lock file, and `npm ci`
// refuses it everywhere: "Missing: … from lock file". An entry without integrity is valid, and what does not fit the
// machine is never fetched. Run it after `npm install`; it changes nothing where nothing is missing.
import { readFileSync, writeFileSync } from 'node:fs'

const file = new URL('../package-lock.json', import.meta.url)
const lock = JSON.parse(readFileSync(file, 'utf8'))
const systems = ['android', 'darwin', 'freebsd', 'linux', 'netbsd', 'openbsd', 'openharmony', 'sunos', 'win32', 'aix']
const processors = ['arm64', 'arm', 'x64', 'ia32', 'ppc64', 'riscv64', 's390x', 'loong64', 'mips64el', 'wasm32']

/** What the name of a binary package says of the machine it is for. */
function platformOf(name) {
  const words = name.split(/[/\-@]/)
  const os = systems.find(system => words.includes(system)) ?? (words.includes('windows') ? 'win32' : undefined)
  const cpu = processors.find(processor => words.some(word => word === processor || word === `${processor}64`))
  const libc = words.some(word => word.startsWith('musl')) ? 'musl' : words.includes('gnu') ? 'glibc' : undefined
  return { cpu, libc, os }
}

/** Where node looks for `name` from the package at `from`. */
function isResolved(from, name) {
  for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf('node_modules/') - 1))) {
    if (lock.packages[`${at === '' ? '' : `${at}/`}node_modules/${name}`] !== undefined) return true
    if (at === '' || !at.includes('node_modules/')) {
      return lock.packages[`node_modules/${name}`] !== undefined
    }
  }
}

const added = []
for (const [path, { optionalDependencies = {}, dev }] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(optionalDependencies)) {
    if (isResolved(path, name)) continue
    const platform = platformOf(name)
    // Without an exact version or a platform it is no binary of one platform: then npm is right to complain.
    if (!/^\d/.test(version) || (platform.os === undefined && platform.cpu === undefined)) {
      console.error(`left out: ${name}@${version}, optional of ${path}`)
      continue
    }
    // In npm's own order of fields, so that its next run leaves the file alone.
    lock.packages[`node_modules/${name}`] = {
      version,
      ...(platform.cpu && { cpu: [platform.cpu] }),
      ...(dev && { dev }),
      ...(platform.libc && { libc: [platform.libc] }),
      optional: true,
      ...(platform.os && { os: [platform.os] }),
    }
    added.push(name)
  }
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).toSorted(([a], [b]) => (a < b ? -1 : 1)))
if (added.length > 0) writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`)
console.error(`added ${added.length} packages of other platforms`)
