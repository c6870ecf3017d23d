import { describe, expect, it } from 'vitest'
import { silentLogger, systemClock, type Clock, type StandardSchema } from '../message/index.ts'
import { hasBody, readBody } from './body.ts'
import { parseJson } from './json-limits.ts'
import { checkMediaType } from './media-type.ts'
import { Refusal } from './refusal.ts'
import { pointerOf, validate } from './validation.ts'

const limits = { maxJsonDepth: 64, maxJsonKeys: 10_000 }
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

function refusalOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (error instanceof Refusal) return `${error.status} ${error.problem}`
    throw error
  }
  return 'taken'
}

async function refused(run: Promise<unknown>): Promise<string> {
  return run.then(
    () => 'taken',
    (error: unknown) => (error instanceof Refusal ? `${error.status} ${error.problem}` : String(error)),
  )
}

describe('JSON within limits', () => {
  it.each([
    ['{', '400 malformed-json'],
    ['', '400 malformed-json'],
    [' \n', '400 malformed-json'],
    ['{"a":1} x', '400 malformed-json'],
    ['NaN', '400 malformed-json'],
    ['{"a":NaN}', '400 malformed-json'],
    ["{'a':1}", '400 malformed-json'],
    ['\ufeff{"a":1}', '400 malformed-json'],
    ['{"a":[{"__proto__":{"admin":true}}]}', '400 malformed-json'],
    ['{"constructor":1}', 'taken'],
    ['null', 'taken'],
    ['"text"', 'taken'],
  ])('%j is %s', (text, expected) => {
    expect(refusalOf(() => parseJson(bytes(text), limits))).toBe(expected)
  })

  it('invalid UTF-8 is malformed', () => {
    expect(refusalOf(() => parseJson(new Uint8Array([0x22, 0xff, 0x22]), limits))).toBe('400 malformed-json')
  })

  it('the outermost value is depth 1, and 100,000 levels overflow no stack', () => {
    const nested = (depth: number): Uint8Array => bytes('['.repeat(depth) + ']'.repeat(depth))
    expect(refusalOf(() => parseJson(nested(64), limits))).toBe('taken')
    expect(refusalOf(() => parseJson(nested(65), limits))).toBe('400 json-too-complex')
    expect(refusalOf(() => parseJson(nested(100_000), limits))).toBe('400 json-too-complex')
  })

  it('members of all objects together are counted', () => {
    const members = (count: number): Uint8Array =>
      bytes(`{${Array.from({ length: count }, (_, index) => `"k${index}":1`).join(',')}}`)
    expect(refusalOf(() => parseJson(members(10_000), limits))).toBe('taken')
    expect(refusalOf(() => parseJson(members(10_001), limits))).toBe('400 json-too-complex')
    expect(refusalOf(() => parseJson(bytes('[{"a":{"b":1}},{"c":1}]'), { ...limits, maxJsonKeys: 2 }))).toBe(
      '400 json-too-complex',
    )
  })

  it('the refusal does not repeat the body', () => {
    try {
      parseJson(bytes('{"password":"hunter2" oops'), limits)
      expect.unreachable()
    } catch (error) {
      expect(JSON.stringify((error as Refusal).options)).not.toMatch(/hunter2|oops/)
    }
  })
})

describe('media types', () => {
  const check = (headers: Record<string, string>, parsers: string[] = []): string =>
    refusalOf(() => checkMediaType(new Headers(headers), parsers))
  it.each([
    [{ 'content-type': 'application/json' }, 'taken'],
    [{ 'content-type': 'Application/JSON; charset="UTF-8"' }, 'taken'],
    [{ 'content-type': 'application/vnd.x+json' }, 'taken'],
    [{ 'content-type': 'application/json', 'content-encoding': 'identity' }, 'taken'],
    [{ 'content-type': 'text/plain' }, '415 unsupported-media-type'],
    [{}, '415 unsupported-media-type'],
    [{ 'content-type': 'nonsense' }, '415 unsupported-media-type'],
    [{ 'content-type': 'application/json; charset=latin1' }, '415 unsupported-media-type'],
    [{ 'content-type': 'application/json', 'content-encoding': 'gzip' }, '415 unsupported-media-type'],
    [{ 'content-type': 'multipart/form-data; boundary=x' }, '415 unsupported-media-type'],
  ])('HT-9 HT-10 %j is %s', (headers, expected) => {
    expect(check(headers)).toBe(expected)
  })
  it('HT-11 a declared parser makes its type welcome', () => {
    expect(check({ 'content-type': 'text/csv' })).toBe('415 unsupported-media-type')
    expect(check({ 'content-type': 'text/csv; charset=utf-8' }, ['text/csv'])).toBe('taken')
  })
})

describe('reading a body', () => {
  const bodyLimits = { maxBodyBytes: 10, bodyTimeoutMs: 1_000 }
  const post = (body: ReadableStream | string): Request =>
    new Request('http://x/', { method: 'POST', body, duplex: 'half' as const })

  it('gives the bytes of several chunks in order', async () => {
    const body = new ReadableStream({
      start(controller) {
        for (const part of ['ab', 'cd', 'e']) controller.enqueue(bytes(part))
        controller.close()
      },
    })
    expect(new TextDecoder().decode(await readBody(post(body), bodyLimits, systemClock))).toBe('abcde')
  })

  it('cuts a chunked body at the limit, reading no more than that', async () => {
    let pulled = 0
    const body = new ReadableStream({
      pull(controller) {
        pulled++
        controller.enqueue(bytes('abcd'))
      },
    })
    expect(await refused(readBody(post(body), bodyLimits, systemClock))).toBe('413 body-too-large')
    expect(pulled).toBeLessThan(6)
  })

  it('bounds the whole body in time, however steadily it trickles', async () => {
    const timers: (() => void)[] = []
    const clock: Clock = {
      ...systemClock,
      setTimeout(callback, ms) {
        expect(ms).toBe(1_000)
        return timers.push(callback)
      },
      clearTimeout() {},
    }
    let trickle: ReadableStreamDefaultController | undefined
    const body = new ReadableStream({
      start(controller) {
        trickle = controller
      },
    })
    const reading = refused(readBody(post(body), bodyLimits, clock))
    trickle?.enqueue(bytes('a'))
    await new Promise(setImmediate)
    trickle?.enqueue(bytes('b'))
    timers[0]?.()
    expect(await reading).toBe('408 body-timeout')
    expect(timers).toHaveLength(1)
  })

  it('a body that breaks off is malformed', async () => {
    const body = new ReadableStream({
      start(controller) {
        controller.error(new Error('reset'))
      },
    })
    expect(await refused(readBody(post(body), bodyLimits, systemClock))).toBe('400 malformed-json')
  })

  it('knows a request without body', () => {
    expect(hasBody(new Request('http://x/', { method: 'POST' }))).toBe(false)
    expect(hasBody(new Request('http://x/', { method: 'POST', headers: { 'content-length': '0' } }))).toBe(false)
    expect(hasBody(post('x'))).toBe(true)
  })
})

describe('validation', () => {
  const schema = (run: () => unknown): StandardSchema =>
    ({ '~standard': { version: 1, vendor: 'test', validate: run } }) as unknown as StandardSchema

  it('HT-8 lists at most 20 faults with pointers', async () => {
    const issues = Array.from({ length: 25 }, (_, index) => ({ message: `no ${index}`, path: ['items', index, 'sku'] }))
    const refusal = await validate(
      schema(() => ({ issues })),
      {},
      silentLogger,
    ).catch((error: unknown) => error as Refusal)
    const { errors } = (refusal as Refusal).options.members as { errors: { detail: string; pointer: string }[] }
    expect(errors).toHaveLength(20)
    expect(errors[3]).toEqual({ detail: 'no 3', pointer: '#/items/3/sku' })
  })

  it('pointers escape what JSON Pointer and URIs reserve', () => {
    expect(pointerOf({ message: '', path: ['a/b', '~', { key: 'ü %' }] })).toBe('#/a~1b/~0/%C3%BC%20%25')
    expect(pointerOf({ message: '' })).toBe('#')
  })

  it('a schema that throws is 422 without its text', async () => {
    const refusal = (await validate(
      schema(() => {
        throw new Error('secret connection string')
      }),
      {},
      silentLogger,
    ).catch((error: unknown) => error)) as Refusal
    expect(refusal.status).toBe(422)
    expect(JSON.stringify(refusal.options)).toContain('threw')
    expect(JSON.stringify(refusal.options)).not.toContain('secret')
  })
})
