import { invalid } from './record-change.ts'

/** @throws BUZZER_INVALID_OPTION */
export function checkWhole(option: string, value: number, least: number, most: number): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value
  throw invalid(`${option}: ${String(value)} is not possible; it is a whole number from ${least} to ${most}`, {
    option,
    value,
  })
}
