/** How a route deals with `Idempotency-Key`. Default `optional`. */
export type IdempotencyMode = 'optional' | 'required' | 'off'

const visible = /^[\x21-\x7e]{1,255}$/

/**
 * The key in an `Idempotency-Key` header: a quoted structured-field string and the bare value are the same key.
 * 1–255 visible ASCII characters; anything else is `undefined`. Source: spec http 5.5.
 */
export function readIdempotencyKey(header: string): string | undefined {
  const text = header.trim()
  const key = text.startsWith('"') ? quoted(text) : text
  return key !== undefined && visible.test(key) ? key : undefined
}

/** An sf-string (RFC 8941, 3.3.3); its parameters say nothing to us and are dropped. */
function quoted(text: string): string | undefined {
  const found = /^"((?:[^"\\]|\\["\\])*)"(?:;.*)?$/.exec(text)
  return found?.[1]?.replaceAll(/\\(.)/g, '$1')
}
