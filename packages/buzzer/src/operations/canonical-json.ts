import type { JsonValue } from '../message/index.ts'

/**
 * JSON in the one spelling of RFC 8785: members sorted by UTF-16 code units, no spacing, numbers and strings as
 * ECMAScript writes them. Equal values give equal text, whatever the order and spacing they came in.
 * Members that are `undefined` are left out. Recursive: for values whose depth is already bounded.
 */
export function canonicalJson(value: JsonValue | undefined): string {
  if (value === undefined) return ''
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(item => canonicalJson(item ?? null)).join(',')}]`
  const object = value as { readonly [name: string]: JsonValue | undefined }
  const members = Object.keys(object)
    .filter(name => object[name] !== undefined)
    .toSorted()
    .map(name => `${JSON.stringify(name)}:${canonicalJson(object[name])}`)
  return `{${members.join(',')}}`
}
