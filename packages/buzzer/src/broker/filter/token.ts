import { BuzzerError } from '../../message/index.ts'

/** A filter at most this long is parsed at all. Source: spec broker 3. */
export const maxFilterLength = 1_024

export type Token =
  | { readonly kind: 'number'; readonly value: number; readonly at: number }
  | { readonly kind: 'text'; readonly value: string; readonly at: number }
  /** A keyword or a bare name, in lower case. */
  | { readonly kind: 'word'; readonly value: string; readonly at: number }
  /** A name in brackets or double quotes: never a keyword. */
  | { readonly kind: 'name'; readonly value: string; readonly at: number }
  | { readonly kind: 'symbol'; readonly value: string; readonly at: number }
  | { readonly kind: 'end'; readonly at: number }

/** One sticky pattern per kind: no position is looked at twice, so hostile input costs no more than its length. */
const space = /\s+/y
const number = /(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?/y
const word = /[A-Za-z_][A-Za-z0-9_]*/y
const symbol = /<>|!=|<=|>=|[=<>+\-*/%(),.]/y

/** @throws BUZZER_FILTER_INVALID */
export function tokenize(text: string): readonly Token[] {
  const tokens: Token[] = []
  let at = 0
  const match = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at
    return pattern.exec(text)?.[0]
  }
  while (at < text.length) {
    const blank = match(space)
    if (blank !== undefined) {
      at += blank.length
      continue
    }
    const first = text.charAt(at)
    const start = at
    if (first === "'" || first === '"' || first === '[') {
      const close = first === '[' ? ']' : first
      const value = quoted(text, at, close)
      at = value.end
      if (first === "'") tokens.push({ kind: 'text', value: value.text, at: start })
      else if (value.text === '') throw invalidFilter(text, start, 'an empty name')
      else tokens.push({ kind: 'name', value: value.text.toLowerCase(), at: start })
      continue
    }
    const digits = match(number)
    if (digits !== undefined) {
      at += digits.length
      // `12abc` is neither a number nor a name.
      if (match(word) !== undefined) throw invalidFilter(text, at, 'a number runs into a name')
      tokens.push({ kind: 'number', value: Number(digits), at: start })
      continue
    }
    const letters = match(word)
    if (letters !== undefined) {
      at += letters.length
      tokens.push({ kind: 'word', value: letters.toLowerCase(), at: start })
      continue
    }
    const sign = match(symbol)
    if (sign === undefined) throw invalidFilter(text, at, `unexpected ${JSON.stringify(first)}`)
    at += sign.length
    tokens.push({ kind: 'symbol', value: sign, at: start })
  }
  tokens.push({ kind: 'end', at: text.length })
  return tokens
}

/** The content up to `close`; a doubled `close` stands for itself. */
function quoted(text: string, at: number, close: string): { text: string; end: number } {
  let content = ''
  let from = at + 1
  for (;;) {
    const end = text.indexOf(close, from)
    if (end < 0) throw invalidFilter(text, at, `${text.charAt(at)} is never closed`)
    content += text.slice(from, end)
    if (text.charAt(end + 1) !== close) return { text: content, end: end + 1 }
    content += close
    from = end + 2
  }
}

/** The error of every filter that cannot be read; `details.position` counts UTF-16 units from 0. */
export function invalidFilter(text: string, position: number, problem: string): BuzzerError {
  const near = text.slice(Math.max(0, position - 20), position + 20)
  return new BuzzerError(
    'BUZZER_FILTER_INVALID',
    `the filter cannot be read at character ${position + 1}: ${problem}, near ${JSON.stringify(near)}`,
    { details: { position, problem, filter: text } },
  )
}
