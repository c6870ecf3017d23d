import { BuzzerError } from '../../message/index.ts'

/** An argument of a log that cannot be: says which, what it was, and what is possible. */
export function invalidOption(option: string, value: unknown, allowed: string): BuzzerError {
  return new BuzzerError('BUZZER_INVALID_OPTION', `${option}: ${shown(value)} is not possible; it is ${allowed}`, {
    details: { option, value },
  })
}

function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 140 ? `${value.slice(0, 140)}…` : value)
  return typeof value === 'object' && value !== null ? `an object (${Object.keys(value).join(', ')})` : String(value)
}

/** Refuses what is no object, and names that nobody knows: a misspelt option must not be ignored. */
export function checkNames(what: string, given: unknown, known: ReadonlySet<string>): void {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) throw invalidOption(what, given, 'an object')
  for (const name of Object.keys(given)) {
    if (known.has(name)) continue
    throw invalidOption(
      `${what}.${name}`,
      (given as Readonly<Record<string, unknown>>)[name],
      `not known; ${what} has ${[...known].join(', ')}`,
    )
  }
}
