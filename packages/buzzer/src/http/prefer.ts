/** The preferences the gateway knows. Source: RFC 7240, spec http 5.4. */
export interface Preferences {
  readonly respondAsync: boolean
  /** Whole seconds ≥ 0. */
  readonly waitS?: number
}

const word = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

/**
 * Reads `Prefer`. Unknown, malformed and negative preferences are ignored, each by itself; of a repeated one the first
 * counts (RFC 7240, section 2).
 */
export function readPrefer(header: string | null): Preferences {
  let respondAsync = false
  let waitS: number | undefined
  const seen = new Set<string>()
  for (const preference of splitOutsideQuotes(header ?? '', ',')) {
    const [first = ''] = splitOutsideQuotes(preference, ';')
    const equals = first.indexOf('=')
    const name = (equals < 0 ? first : first.slice(0, equals)).trim().toLowerCase()
    if (!word.test(name) || seen.has(name)) continue
    seen.add(name)
    const value = equals < 0 ? '' : unquoted(first.slice(equals + 1).trim())
    if (name === 'respond-async' && value === '') respondAsync = true
    // More digits than a number can hold are still a wait, and a long one.
    if (name === 'wait' && value !== undefined && /^\d+$/.test(value)) waitS = Math.min(Number(value), 2 ** 31)
  }
  return waitS === undefined ? { respondAsync } : { respondAsync, waitS }
}

function unquoted(value: string): string | undefined {
  if (!value.startsWith('"')) return value
  return /^"(?:[^"\\]|\\.)*"$/.test(value) ? value.slice(1, -1).replaceAll(/\\(.)/g, '$1') : undefined
}

function splitOutsideQuotes(text: string, separator: ',' | ';'): string[] {
  const parts: string[] = []
  let start = 0
  let quoted = false
  for (let i = 0; i < text.length; i++) {
    const char = text[i]
    if (quoted && char === '\\') i++
    else if (char === '"') quoted = !quoted
    else if (char === separator && !quoted) {
      parts.push(text.slice(start, i))
      start = i + 1
    }
  }
  parts.push(text.slice(start))
  return parts
}
