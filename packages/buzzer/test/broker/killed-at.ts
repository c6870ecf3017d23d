/** Runs a program under strace, which kills it, or fails it, at one of its system calls. */
import { spawnSync } from 'node:child_process'

export const canTrace: boolean = spawnSync('strace', ['-V']).status === 0

/** Of every so many calls one is tried, unless all are asked for: BUZZER_CRASH_STEP=1. */
export function crashStride(usual: number): number {
  return Number(process.env['BUZZER_CRASH_STEP'] ?? usual)
}

/**
 * Runs `program` with `path`; its `nth` call of `call` meets `fate`. Answers the lines it wrote, and whether it came to its
 * end.
 */
export function runUntil(
  program: string,
  path: string,
  call: string,
  nth: number,
  fate: string,
): { readonly steps: string[]; readonly untouched: boolean } {
  const inject = `inject=${call}:${fate}:when=${nth}`
  const node = [process.execPath, '--conditions=buzzer-source', program, path]
  const { stdout, status } = spawnSync(
    'strace',
    ['-f', '-qq', '-o', '/dev/null', '-e', `trace=${call}`, '-e', inject, ...node],
    { encoding: 'utf8', timeout: 60_000 },
  )
  return { steps: stdout.split('\n').filter(line => line !== ''), untouched: status === 0 }
}
