import { Refusal } from './refusal.ts'

export interface JsonLimits {
  readonly maxJsonDepth: number
  readonly maxJsonKeys: number
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * One JSON value from bytes, within limits. The walk keeps its own stack: `JSON.parse` takes any depth, but validators
 * and `structuredClone` that come later do not. Refuses with `malformed-json` and `json-too-complex`. Source: spec http 5.11.
 */
export function parseJson(bytes: Uint8Array, limits: JsonLimits): unknown {
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch {
    throw new Refusal('malformed-json', { detail: 'The body is not valid UTF-8' })
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new Refusal('malformed-json', {
      detail: text.trim() === '' ? 'The body is blank' : positionOf(error),
    })
  }
  checkLimits(value, limits)
  return value
}

function checkLimits(value: unknown, { maxJsonDepth, maxJsonKeys }: JsonLimits): void {
  if (typeof value !== 'object' || value === null) return
  const open: { value: object; depth: number }[] = [{ value, depth: 1 }]
  let keys = 0
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { depth } = next
    if (depth > maxJsonDepth) {
      throw new Refusal('json-too-complex', { detail: `The body is nested more than ${maxJsonDepth} deep` })
    }
    const isArray = Array.isArray(next.value)
    if (!isArray && Object.hasOwn(next.value, '__proto__')) {
      throw new Refusal('malformed-json', { detail: 'A member named __proto__ is not taken' })
    }
    const inner: readonly unknown[] = isArray ? (next.value as unknown[]) : Object.values(next.value)
    if (!isArray) keys += inner.length
    if (keys > maxJsonKeys) {
      throw new Refusal('json-too-complex', { detail: `The body has more than ${maxJsonKeys} members` })
    }
    for (const one of inner) {
      if (typeof one === 'object' && one !== null) open.push({ value: one, depth: depth + 1 })
    }
  }
}

/** Where the parser stopped. Its message quotes the body, which may hold secrets, so only the position is taken. */
function positionOf(error: unknown): string {
  const at = /at position (\d+)/.exec((error as Error).message)?.[1]
  return at === undefined ? 'The body is not JSON, or ends too early' : `The body is not JSON at position ${at}`
}
