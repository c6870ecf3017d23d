import { describe, expect, test } from 'vitest'
import { errorChain, fingerprint } from './dead-letter.ts'

const at = (message: string, stack = ''): Parameters<typeof fingerprint>[2] => ({ name: 'Error', message, stack })

describe('F7 fingerprint', () => {
  test('the same fault of different orders is one group: ids, numbers and quotations are blanked', () => {
    const prints = ['order 41 of "ann" failed', 'order 42 of "bob" failed', "order 7.5 of 'x' failed"].map(message =>
      fingerprint('orders.do', 'retries-exhausted', at(message)),
    )
    expect(new Set(prints).size).toBe(1)
    const ids = ['01890a5d-ac96-774b-bcce-b302099a8057', '01890a5d-0000-774b-bcce-b302099a8057']
    expect(new Set(ids.map(id => fingerprint('t', 'r', at(`no ${id}`)))).size).toBe(1)
  })

  test('type, reason, name, code and place tell groups apart', () => {
    const base = fingerprint('t', 'r', at('m', 'Error\n    at pay (/app/pay.js:10:5)'))
    expect(fingerprint('t', 'r', at('m', 'Error\n    at pay (/other/pay.js:99:1)'))).toBe(base)
    expect(fingerprint('t', 'r', at('m', 'Error\n    at ship (/app/ship.js:10:5)'))).not.toBe(base)
    expect(fingerprint('u', 'r', at('m', 'Error\n    at pay (/app/pay.js:10:5)'))).not.toBe(base)
    expect(fingerprint('t', 's', at('m', 'Error\n    at pay (/app/pay.js:10:5)'))).not.toBe(base)
  })

  test('frames of Node do not count', () => {
    const direct = fingerprint('t', 'r', at('m', 'Error\n    at pay (/app/pay.js:10:5)'))
    const through = fingerprint('t', 'r', at('m', 'Error\n    at node:internal/x:1:1\n    at pay (/app/pay.js:10:5)'))
    expect(through).toBe(direct)
  })

  test('causes are kept in order, a cycle ends, and anything may be thrown', () => {
    const first = new Error('first')
    const second = new TypeError('second', { cause: first })
    first.cause = second
    expect(errorChain(second).map(one => `${one.name}: ${one.message}`)).toEqual(['TypeError: second', 'Error: first'])
    expect(errorChain('text')).toEqual([{ name: 'string', message: 'text' }])
    expect(errorChain({ code: 7 })[0]?.code).toBe('7')
  })
})
