import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { codeOf, problemKinds, type ProblemName } from './problem-registry.ts'
import { problemResponse, Refusal } from './refusal.ts'

/** The table of spec http 5.13, by hand. */
const table: Record<string, readonly string[]> = {
  400: [
    'malformed-json',
    'json-too-complex',
    'idempotency-key-missing',
    'idempotency-key-invalid',
    'invalid-cloudevent',
  ],
  401: ['unauthenticated'],
  403: ['forbidden'],
  404: ['not-found'],
  405: ['method-not-allowed'],
  408: ['body-timeout'],
  409: ['operation-done', 'idempotency-in-progress'],
  410: ['operation-gone'],
  413: ['body-too-large'],
  415: ['unsupported-media-type'],
  422: ['validation-failed', 'idempotency-key-reused', 'callback-url-refused', 'unknown-event'],
  429: ['rate-limited'],
  500: ['internal'],
  503: ['overloaded', 'unavailable', 'too-many-streams'],
  none: ['operation-failed', 'operation-timed-out'],
}

describe('the registry of problems', () => {
  it('is the table of the specification', () => {
    const registered: Record<string, string[]> = {}
    for (const [name, kind] of Object.entries(problemKinds)) {
      ;(registered['status' in kind ? String(kind.status) : 'none'] ??= []).push(name)
    }
    const sorted = (groups: Record<string, readonly string[]>): unknown =>
      Object.fromEntries(Object.entries(groups).map(([status, names]) => [status, names.toSorted()]))
    expect(sorted(registered)).toEqual(sorted(table))
  })

  it('is documented, each with status, title and code', () => {
    const page = readFileSync(new URL('../../../../docs/reference/problems.md', import.meta.url), 'utf8')
    const documented = [...page.matchAll(/^### `([a-z-]+)`/gm)].map(match => match[1])
    expect(documented.toSorted()).toEqual(Object.keys(problemKinds).toSorted())
    for (const [name, kind] of Object.entries(problemKinds)) {
      const section = page.split(`### \`${name}\``)[1]?.split('\n### ')[0]
      expect(section, name).toContain(kind.title)
      expect(section, name).toContain(codeOf(name as ProblemName))
      expect(section, name).toContain(kind.page)
      if ('status' in kind) expect(section, name).toContain(`**${kind.status}**`)
    }
  })

  it('a problem document has type, title, status, detail and code', async () => {
    const answer = problemResponse(
      new Refusal('body-too-large', { detail: 'more than 5', members: { maxBodyBytes: 5 } }),
      'https://api.example.com/v1',
    )
    expect(answer.status).toBe(413)
    expect(answer.headers.get('content-type')).toBe('application/problem+json')
    expect(await answer.json()).toEqual({
      type: 'https://api.example.com/v1/problems/body-too-large',
      title: 'The body is too large',
      status: 413,
      detail: 'more than 5',
      code: 'BUZZER_BODY_TOO_LARGE',
      maxBodyBytes: 5,
    })
  })

  it('every 429 and 503 carries Retry-After', () => {
    for (const name of ['rate-limited', 'overloaded', 'unavailable', 'too-many-streams'] as const) {
      expect(problemResponse(new Refusal(name), '').headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
    }
  })
})
