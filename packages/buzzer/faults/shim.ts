import { spawnSync } from 'node:child_process'
import { closeSync, existsSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const source = fileURLToPath(new URL('./shim.c', import.meta.url))

/** Why it cannot be used here, or nothing. */
export function shimMissing(): string | undefined {
  if (process.platform !== 'linux') return 'the preloaded library is for Linux'
  return spawnSync('gcc', ['--version']).status === 0 ? undefined : 'no gcc to compile the preloaded library with'
}

/** The environment in which a process has the shim before it; compiles it into `folder` at the first call. */
export function shimEnv(
  folder: string,
  what: { readonly path?: string; readonly fault?: string; readonly clock?: string },
): Readonly<Record<string, string>> {
  const library = join(folder, 'shim.so')
  if (!existsSync(library)) {
    const { status, stderr } = spawnSync('gcc', [
      '-shared',
      '-fPIC',
      '-O1',
      '-Wall',
      '-Werror',
      '-o',
      library,
      source,
      '-ldl',
    ])
    if (status !== 0) throw new Error(`gcc cannot compile ${source}: ${String(stderr)}`)
  }
  return {
    LD_PRELOAD: library,
    ...(what.path === undefined ? {} : { BUZZER_SHIM_PATH: what.path }),
    ...(what.fault === undefined ? {} : { BUZZER_SHIM: what.fault }),
    ...(what.clock === undefined ? {} : { BUZZER_SHIM_CLOCK: what.clock }),
  }
}

/** Moves the wall clock of all processes that have `file` as theirs. */
export function setClock(file: string, offsetMs: number): void {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64LE(BigInt(Math.round(offsetMs)))
  // In place: the others have it mapped.
  const fd = openSync(file, existsSync(file) ? 'r+' : 'w')
  writeSync(fd, bytes, 0, 8, 0)
  closeSync(fd)
}
