import { BuzzerError } from './errors.ts'

const shape = /^[a-z0-9]+([._-][a-z0-9]+)*$/
const reserved = /^buzzer\.|\.dead$|\.fault$|\.v\d+$/

/** What a name may look like, in words, for error messages. */
const rule =
  "names are lower-case letters and digits, joined by single '.', '_' or '-', at most 120 characters, " +
  "and do not begin with 'buzzer.' or end in '.dead', '.fault' or '.v<digits>'"

/**
 * Checks the name of a contract, queue, bus or stream and returns it. Source: spec bus 1.1.
 * @throws BUZZER_INVALID_NAME
 */
export function checkName(what: 'contract' | 'queue' | 'bus' | 'stream', name: string): string {
  if (typeof name !== 'string' || name.length > 120 || !shape.test(name) || reserved.test(name)) {
    throw new BuzzerError('BUZZER_INVALID_NAME', `the ${what} name ${JSON.stringify(name)} is not valid: ${rule}`, {
      details: { what, name },
    })
  }
  return name
}

/** The wire type of a contract: its name, from version 2 on with `.v2`. */
export function wireType(name: string, version: number): string {
  return version === 1 ? name : `${name}.v${version}`
}
