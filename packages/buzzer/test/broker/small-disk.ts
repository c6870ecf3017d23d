import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** A file system in memory of a few megabytes, or undefined where this process may not mount one. */
export function smallDisk(at: string): { fill(): void; empty(): void; unmount(): void } | undefined {
  mkdirSync(at)
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', at], { stdio: 'ignore' })
  } catch {
    return undefined
  }
  const filler = join(at, 'filler')
  return {
    fill: () => {
      try {
        for (let size = 1024 * 1024; size >= 4_096; size /= 2) {
          try {
            for (;;) writeFileSync(filler, new Uint8Array(size), { flag: 'a' })
          } catch {
            // Full for this size: try a smaller one.
          }
        }
      } catch {
        // Full.
      }
    },
    empty: () => writeFileSync(filler, ''),
    unmount: () => execFileSync('umount', ['-l', at]),
  }
}
