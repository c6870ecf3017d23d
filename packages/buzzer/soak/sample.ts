import { statSync } from 'node:fs'

/** One look at a broker at work. */
export interface Sample {
  /** Since the load began. */
  readonly seconds: number
  /** Messages handled and acknowledged per second since the look before. */
  readonly rate: number
  readonly memoryBytes: number
  readonly databaseBytes: number
  readonly walBytes: number
}

/** Bytes of a file; 0 when it is not there. */
export function bytesOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}
