import type { Sample } from './sample.ts'

const mebibyte = 1024 * 1024
/** Under continuous load the write-ahead file stays below this. Source: spec broker 8. */
const walLimitBytes = 64 * mebibyte
/** What is level may still move so much: pages, the garbage collector's appetite. */
const levelPart = 0.1
const levelBytes = 32 * mebibyte
/** Every tenth of the run reaches this part of the rate asked for. */
const rateLeast = 0.9

/** The first part of a run is warm-up: code is compiled, caches fill. */
const warmUpPart = 0.2

export interface SoakVerdict {
  readonly what: string
  readonly figure: string
  readonly holds: boolean
}

/**
 * Memory, database and write-ahead file are level, and the rate holds. Source: spec broker 12, B98. Level means: the last
 * third is at most a tenth and 32 MiB above the first third, the warm-up left aside.
 */
export function judgeSoak(samples: readonly Sample[], wantedRate: number): readonly SoakVerdict[] {
  const warm = samples.slice(Math.floor(samples.length * warmUpPart))
  if (samples.length < 4) throw new RangeError(`a soak needs 4 samples at least, there are ${samples.length}`)
  const third = Math.floor(warm.length / 3)
  const level = (what: string, of: (sample: Sample) => number): SoakVerdict => {
    const [first, last] = [median(warm.slice(0, third).map(of)), median(warm.slice(-third).map(of))]
    const holds = last <= first * (1 + levelPart) + levelBytes
    return { what: `${what} level`, figure: `${inMebibytes(first)}, at the end ${inMebibytes(last)}`, holds }
  }
  const highestWal = Math.max(...samples.map(({ walBytes }) => walBytes))
  const rates = tenths(warm).map(part => part.reduce((sum, { rate }) => sum + rate, 0) / part.length)
  const lowest = Math.min(...rates)
  return [
    level('memory', ({ memoryBytes }) => memoryBytes),
    level('database', ({ databaseBytes }) => databaseBytes),
    { what: 'write-ahead file below 64 MiB', figure: inMebibytes(highestWal), holds: highestWal < walLimitBytes },
    {
      what: `rate within 10 % of ${wantedRate}/s`,
      figure: `${Math.round(lowest)}/s in the slowest tenth`,
      holds: lowest >= wantedRate * rateLeast,
    },
  ]
}

function tenths(samples: readonly Sample[]): Sample[][] {
  const size = Math.max(1, Math.floor(samples.length / 10))
  return Array.from({ length: Math.floor(samples.length / size) }, (_, n) => samples.slice(n * size, (n + 1) * size))
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}

function inMebibytes(bytes: number): string {
  return `${(bytes / mebibyte).toFixed(1)} MiB`
}
