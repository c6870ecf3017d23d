import { closeSync, fdatasyncSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { arch, availableParallelism, cpus, loadavg, platform, release, totalmem } from 'node:os'
import { join, resolve } from 'node:path'
import { median } from './statistics.ts'

/** What a figure is worth nothing without. */
export function machineFacts(folder: string): Readonly<Record<string, string>> {
  return {
    machine: `${cpus()[0]?.model.trim() ?? 'unknown processor'}, ${availableParallelism()} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, ${platform()} ${release()} ${arch()}`,
    load: `${loadavg()[0]?.toFixed(2)} before the run`,
    node: `${process.version}, V8 ${process.versions.v8}, SQLite ${process.versions['sqlite'] ?? 'none'}`,
    'file system': `${fileSystemOf(folder)}; a bare fdatasync of 200 bytes takes ${bareSyncMs(folder).toFixed(2)} ms (median of 200)`,
    buzzer: packageVersion('buzzer'),
  }
}

/** The version of an installed package of this workspace. */
export function packageVersion(name: string): string {
  // A package may hide its package.json behind `exports`: read it from the folder that holds the entry.
  let folder = resolve(new URL(import.meta.resolve(name)).pathname)
  for (;;) {
    folder = resolve(folder, '..')
    try {
      const parsed = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
        name?: string
        version?: string
      }
      if (parsed.name === name) return parsed.version ?? 'unknown'
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
    if (folder === resolve(folder, '..')) return 'unknown'
  }
}

function fileSystemOf(folder: string): string {
  try {
    const path = resolve(folder)
    const mounts = readFileSync('/proc/mounts', 'utf8')
      .split('\n')
      .map(line => line.split(' '))
      .filter(
        ([, point]) => point !== undefined && (path === point || path.startsWith(point === '/' ? '/' : `${point}/`)),
      )
    const longest = mounts.toSorted((a, b) => (b[1]?.length ?? 0) - (a[1]?.length ?? 0))[0]
    return longest === undefined ? 'unknown' : (longest[2] ?? 'unknown')
  } catch {
    return 'unknown (no /proc/mounts)'
  }
}

function bareSyncMs(folder: string): number {
  const path = join(folder, 'bare-sync')
  const file = openSync(path, 'w')
  const line = Buffer.alloc(200, 'x')
  const samples: number[] = []
  for (let i = 0; i < 200; i++) {
    writeSync(file, line)
    const startedAt = performance.now()
    fdatasyncSync(file)
    samples.push(performance.now() - startedAt)
  }
  closeSync(file)
  rmSync(path)
  return median(samples)
}
