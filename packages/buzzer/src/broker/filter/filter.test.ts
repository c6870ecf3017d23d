import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hasCode } from '../../message/index.ts'
import { compileFilter, type FilterSource } from './filter.ts'

const headers: Record<string, string> = {
  color: 'red',
  size: '12',
  price: '-3.50',
  big: '1e3',
  flag: 'true',
  off: 'false',
  empty: '',
  quote: "it's",
  percent: '100%',
  path: 'a_b',
  face: '\u{1F600}',
  tilde: '～',
  'order-total': '250',
  and: 'keyword',
}
const system: Record<string, string | number> = {
  id: 'm-1',
  type: 'orders.placed',
  key: 'k',
  priority: 4,
  source: '/shop',
}
const source: FilterSource = { header: name => headers[name], system: name => system[name] }

function answers(filter: string): boolean {
  return compileFilter(filter)(source)
}

/** What the truth is, told apart: `NOT` of unknown is unknown, so neither the filter nor its negation accepts. */
function truth(filter: string): 'true' | 'false' | 'unknown' {
  if (answers(filter)) return 'true'
  return answers(`NOT (${filter})`) ? 'false' : 'unknown'
}

const table: readonly [filter: string, truth: 'true' | 'false' | 'unknown'][] = [
  // Text with text.
  ["color = 'red'", 'true'],
  ["color = 'Red'", 'false'],
  ["COLOR = 'red'", 'true'],
  ["color <> 'blue'", 'true'],
  ["color != 'red'", 'false'],
  ["color < 'rex'", 'true'],
  ["color > 'rex'", 'false'],
  ["color <= 'red'", 'true'],
  ["color >= 'ree'", 'false'],
  ["empty = ''", 'true'],
  ["quote = 'it''s'", 'true'],
  ["'a' < 'b'", 'true'],
  ["'a' < 'ab'", 'true'],
  ['face > tilde', 'true'],
  ['size = price', 'false'],
  ["size < '2'", 'true'],
  // Text as number.
  ['size = 12', 'true'],
  ['size = 12.0', 'true'],
  ['size > 2', 'true'],
  ['size >= 12', 'true'],
  ['size < 12', 'false'],
  ['size <= 11.5', 'false'],
  ['size != 13', 'true'],
  ['12 = size', 'true'],
  ['price = -3.5', 'true'],
  ['price < 0', 'true'],
  ['big = 1000', 'unknown'],
  ['color = 1', 'unknown'],
  ['color <> 1', 'unknown'],
  ['empty = 0', 'unknown'],
  // Numbers.
  ['1 = 1', 'true'],
  ['1E2 = 100', 'true'],
  ['1.5e-1 = 0.15', 'true'],
  ['.5 = 0.5', 'true'],
  ['5. = 5', 'true'],
  ['1 = 2', 'false'],
  ['1E400 = 1E400', 'unknown'],
  // Booleans.
  ['flag = TRUE', 'true'],
  ['flag = false', 'false'],
  ['off <> TRUE', 'true'],
  ['color = TRUE', 'unknown'],
  ['TRUE = TRUE', 'true'],
  ['TRUE <> FALSE', 'true'],
  ['TRUE > FALSE', 'unknown'],
  ['TRUE = 1', 'unknown'],
  ['flag', 'true'],
  ['off', 'false'],
  ['color', 'unknown'],
  ['TRUE', 'true'],
  ['FALSE', 'false'],
  // Absent.
  ["absent = 'x'", 'unknown'],
  ["absent <> 'x'", 'unknown'],
  ['absent = absent', 'unknown'],
  ['absent < 1', 'unknown'],
  ['absent + 1 = 1', 'unknown'],
  ['absent', 'unknown'],
  ['NULL', 'unknown'],
  ['NULL = NULL', 'unknown'],
  ['absent IS NULL', 'true'],
  ['absent IS NOT NULL', 'false'],
  ['color IS NULL', 'false'],
  ['color is not null', 'true'],
  ['NULL IS NULL', 'true'],
  ['(color + 1) IS NULL', 'true'],
  ['EXISTS(color)', 'true'],
  ['EXISTS(absent)', 'false'],
  ['NOT EXISTS(absent)', 'true'],
  ['exists([order-total])', 'true'],
  ['EXISTS(sys.source)', 'true'],
  ['EXISTS(sys.absent)', 'false'],
  // Three values.
  ['FALSE AND NULL', 'false'],
  ['NULL AND FALSE', 'false'],
  ['TRUE AND NULL', 'unknown'],
  ['NULL AND TRUE', 'unknown'],
  ['TRUE OR NULL', 'true'],
  ['NULL OR TRUE', 'true'],
  ['FALSE OR NULL', 'unknown'],
  ['NULL OR FALSE', 'unknown'],
  ['NULL AND NULL', 'unknown'],
  ['NOT NULL', 'unknown'],
  ['NOT TRUE', 'false'],
  ['NOT FALSE', 'true'],
  // Precedence.
  ['TRUE OR TRUE AND FALSE', 'true'],
  ['(TRUE OR TRUE) AND FALSE', 'false'],
  ['NOT FALSE AND FALSE', 'false'],
  ['NOT (FALSE AND FALSE)', 'true'],
  ['NOT TRUE OR TRUE', 'true'],
  ["NOT color = 'red'", 'false'],
  ['NOT NOT TRUE', 'true'],
  ['1 + 2 * 3 = 7', 'true'],
  ['(1 + 2) * 3 = 9', 'true'],
  ['8 / 4 / 2 = 1', 'true'],
  ['8 - 4 - 2 = 2', 'true'],
  ['7 % 4 = 3', 'true'],
  ['-2 + 3 = 1', 'true'],
  ['- (2 + 3) = -5', 'true'],
  ['- - 2 = 2', 'true'],
  ['+2 = 2', 'true'],
  ['2 * -3 = -6', 'true'],
  ['-size = -12', 'true'],
  ['1 < 2 AND 2 < 3', 'true'],
  ['1 = 1 OR 1 / 0 = 1', 'true'],
  // Arithmetic with text, overflow, division by zero.
  ['size + 1 = 13', 'true'],
  ['size * price = -42', 'true'],
  ['color + 1 = 1', 'unknown'],
  ['flag + 1 = 2', 'unknown'],
  ['1 / 0 = 1', 'unknown'],
  ['1 % 0 = 1', 'unknown'],
  ['1E308 * 10 > 1', 'unknown'],
  ['7 / 2 = 3.5', 'true'],
  // IN.
  ["color IN ('blue', 'red')", 'true'],
  ["color IN ('blue')", 'false'],
  ["color NOT IN ('blue')", 'true'],
  ["color not in ('red')", 'false'],
  ['size IN (11, 12)', 'true'],
  ["size IN (11, '12')", 'true'],
  ["color IN ('blue', NULL)", 'unknown'],
  ["color IN ('red', NULL)", 'true'],
  ["color NOT IN ('blue', NULL)", 'unknown'],
  ["absent IN ('x')", 'unknown'],
  ["absent NOT IN ('x')", 'unknown'],
  ['size IN (price, 10 + 2)', 'true'],
  // LIKE.
  ["color LIKE 'r%'", 'true'],
  ["color LIKE 'R%'", 'false'],
  ["color LIKE '_e_'", 'true'],
  ["color LIKE '_e'", 'false'],
  ["color LIKE '%'", 'true'],
  ["empty LIKE '%'", 'true'],
  ["empty LIKE '_'", 'false'],
  ["color NOT LIKE 'b%'", 'true'],
  ["absent LIKE '%'", 'unknown'],
  ["absent NOT LIKE '%'", 'unknown'],
  ["percent LIKE '100\\%' ESCAPE '\\'", 'true'],
  ["color LIKE '\\%' ESCAPE '\\'", 'false'],
  ["path LIKE 'a!_b' ESCAPE '!'", 'true'],
  ["path LIKE 'a!_c' ESCAPE '!'", 'false'],
  ["face LIKE '_'", 'true'],
  ["quote LIKE '%''s'", 'true'],
  ["size LIKE '1_'", 'true'],
  ["12 LIKE '1_'", 'unknown'],
  // Names.
  ["user.color = 'red'", 'true'],
  ["USER.color = 'red'", 'true'],
  ["[color] = 'red'", 'true'],
  ['"color" = \'red\'', 'true'],
  ['[order-total] > 200', 'true'],
  ['user.[order-total] = 250', 'true'],
  ["[and] = 'keyword'", 'true'],
  ["sys.type = 'orders.placed'", 'true'],
  ["sys.Type LIKE 'orders.%'", 'true'],
  ["sys.id = 'm-1'", 'true'],
  ['sys.priority = 4', 'true'],
  ["sys.key = 'k'", 'true'],
  ["sys.source = '/shop'", 'true'],
  ["\t\n color\n=\t'red' ", 'true'],
]

const refused: readonly [filter: string, position: number][] = [
  ['', 0],
  ['   ', 3],
  ['color =', 7],
  ["= 'red'", 0],
  ["color = 'red", 8],
  ['[color = 1', 0],
  ['[] = 1', 0],
  ['(1 = 1', 6],
  ['1 = 1)', 5],
  ['1 = 2 = 3', 6],
  ['color IS 1', 9],
  ['color NOT 1', 10],
  ['color IN ()', 10],
  ['color IN (1', 11],
  ['color LIKE 1', 11],
  ['color LIKE other', 11],
  ["color LIKE 'a' ESCAPE 'ab'", 22],
  ["color LIKE 'a!' ESCAPE '!'", 11],
  ['EXISTS color', 7],
  ['EXISTS(1)', 7],
  ['foo.bar = 1', 0],
  ['1 AND', 5],
  ['12abc = 1', 2],
  ['color # 1', 6],
  ['select = and', 9],
  ["a = 'x'; drop", 7],
]

describe('B55 the grammar', () => {
  it.each(table)('%s → %s', (filter, expected) => {
    expect(truth(filter)).toBe(expected)
  })

  it.each(refused)('%s → refused at %i', (filter, position) => {
    try {
      compileFilter(filter)
      expect.unreachable('the filter was accepted')
    } catch (error) {
      expect(hasCode(error, 'BUZZER_FILTER_INVALID')).toBe(true)
      expect((error as { details: { position: number } }).details.position).toBe(position)
    }
  })

  it('has at least 120 lines', () => {
    expect(table.length + refused.length).toBeGreaterThanOrEqual(120)
  })

  it('takes 1,024 characters and refuses one more', () => {
    const long = `color = '${'x'.repeat(1_024 - 10)}'`
    expect(long).toHaveLength(1_024)
    expect(compileFilter(long)(source)).toBe(false)
    expect(() => compileFilter(`${long} `)).toThrow(expect.objectContaining({ code: 'BUZZER_FILTER_INVALID' }))
  })

  it('takes the deepest nesting that fits', () => {
    expect(answers(`${'('.repeat(510)}TRUE${')'.repeat(510)}`)).toBe(true)
    expect(answers(`${'NOT '.repeat(254)}TRUE`)).toBe(true)
    expect(answers(`${'- '.repeat(500)}1 = 1`)).toBe(true)
  })

  it('matches a hostile LIKE pattern in time', () => {
    const filter = compileFilter(`color LIKE '${'%a'.repeat(400)}'`)
    expect(filter({ header: () => 'a'.repeat(399), system: () => undefined })).toBe(false)
  })
})

/* A slow reference: trees built first, printed fully bracketed or by precedence, evaluated by the text of the spec. */
type Tree =
  | { readonly op: 'leaf'; readonly text: string; readonly value: string | number | boolean | null }
  | { readonly op: 'sign' | 'not'; readonly a: Tree }
  | {
      readonly op: '+' | '-' | '*' | '/' | '%' | '=' | '<>' | '<' | '<=' | '>' | '>=' | 'AND' | 'OR'
      readonly a: Tree
      readonly b: Tree
    }
  | { readonly op: 'in'; readonly a: Tree; readonly items: readonly Tree[]; readonly negated: string }
  | { readonly op: 'null'; readonly a: Tree; readonly negated: string }

type Plain = string | number | boolean | null

function print(tree: Tree): string {
  switch (tree.op) {
    case 'leaf':
      return tree.text
    case 'sign':
      return `(- ${print(tree.a)})`
    case 'not':
      return `(NOT ${print(tree.a)})`
    case 'in':
      return `(${print(tree.a)} ${tree.negated} IN (${tree.items.map(print).join(', ')}))`
    case 'null':
      return `(${print(tree.a)} IS ${tree.negated} NULL)`
    default:
      return `(${print(tree.a)} ${tree.op} ${print(tree.b)})`
  }
}

function asNumber(value: Plain): number | null {
  if (typeof value === 'number') return value
  if (typeof value !== 'string') return null
  const matched = /^(-?)([0-9]+)(?:\.([0-9]+))?$/.exec(value)
  return matched === null ? null : Number(`${matched[1]}${matched[2]}.${matched[3] ?? '0'}`)
}

function asTruth(value: Plain): boolean | null {
  if (value === true || value === 'true') return true
  if (value === false || value === 'false') return false
  return null
}

function equal(a: Plain, b: Plain): boolean | null {
  if (a === null || b === null) return null
  if (typeof a === 'string' && typeof b === 'string') return Array.from(a).join('|') === Array.from(b).join('|')
  if (typeof a === 'boolean' || typeof b === 'boolean') {
    if (typeof a === 'number' || typeof b === 'number') return null
    const [x, y] = [asTruth(a), asTruth(b)]
    return x === null || y === null ? null : x === y
  }
  const [x, y] = [asNumber(a), asNumber(b)]
  return x === null || y === null ? null : x === y
}

function less(a: Plain, b: Plain): boolean | null {
  if (a === null || b === null || typeof a === 'boolean' || typeof b === 'boolean') return null
  if (typeof a === 'string' && typeof b === 'string') {
    const [x, y] = [Array.from(a, p => p.codePointAt(0) ?? 0), Array.from(b, p => p.codePointAt(0) ?? 0)]
    for (let i = 0; i < x.length && i < y.length; i++) if (x[i] !== y[i]) return (x[i] ?? 0) < (y[i] ?? 0)
    return x.length < y.length
  }
  const [x, y] = [asNumber(a), asNumber(b)]
  return x === null || y === null ? null : x < y
}

const negate = (truth: boolean | null): boolean | null => (truth === null ? null : !truth)
const known = (value: number): number | null => (Number.isFinite(value) ? value : null)

function evaluate(tree: Tree): Plain {
  switch (tree.op) {
    case 'leaf':
      return tree.value
    case 'sign': {
      const a = asNumber(evaluate(tree.a))
      return a === null ? null : -a
    }
    case 'not':
      return negate(asTruth(evaluate(tree.a)))
    case 'null':
      return (evaluate(tree.a) === null) !== (tree.negated === 'NOT')
    case 'in': {
      const a = evaluate(tree.a)
      const found = tree.items.map(item => equal(a, evaluate(item)))
      const any = found.includes(true) ? true : found.includes(null) ? null : false
      return tree.negated === 'NOT' ? negate(any) : any
    }
    case 'AND': {
      const both = [asTruth(evaluate(tree.a)), asTruth(evaluate(tree.b))]
      return both.includes(false) ? false : both.includes(null) ? null : true
    }
    case 'OR': {
      const both = [asTruth(evaluate(tree.a)), asTruth(evaluate(tree.b))]
      return both.includes(true) ? true : both.includes(null) ? null : false
    }
    default: {
      const [a, b] = [evaluate(tree.a), evaluate(tree.b)]
      const [x, y] = [asNumber(a), asNumber(b)]
      switch (tree.op) {
        case '=':
          return equal(a, b)
        case '<>':
          return negate(equal(a, b))
        case '<':
          return less(a, b)
        case '>':
          return less(b, a)
        case '<=':
          return negate(less(b, a))
        case '>=':
          return negate(less(a, b))
        case '+':
          return x === null || y === null ? null : known(x + y)
        case '-':
          return x === null || y === null ? null : known(x - y)
        case '*':
          return x === null || y === null ? null : known(x * y)
        case '/':
          return x === null || y === null ? null : known(x / y)
        case '%':
          return x === null || y === null ? null : known(x % y)
      }
    }
  }
}

const leaf: fc.Arbitrary<Tree> = fc.oneof(
  fc
    .constantFrom(...Object.keys(headers), 'absent')
    .map((name): Tree => ({ op: 'leaf', text: `[${name}]`, value: headers[name] ?? null })),
  fc
    .constantFrom('id', 'priority', 'nothing')
    .map((name): Tree => ({ op: 'leaf', text: `sys.${name}`, value: system[name] ?? null })),
  fc.integer({ min: 0, max: 300 }).map((value): Tree => ({ op: 'leaf', text: String(value), value })),
  fc
    .constantFrom('red', '12', 'true', '', "it's", '\u{1F600}', '～')
    .map((value): Tree => ({ op: 'leaf', text: `'${value.replaceAll("'", "''")}'`, value })),
  fc.constantFrom<Tree>(
    { op: 'leaf', text: 'TRUE', value: true },
    { op: 'leaf', text: 'FALSE', value: false },
    { op: 'leaf', text: 'NULL', value: null },
    { op: 'leaf', text: '1E308', value: 1e308 },
  ),
)

const { tree } = fc.letrec<{ tree: Tree }>(tie => ({
  tree: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    leaf,
    fc.record({ op: fc.constantFrom('sign', 'not'), a: tie('tree') }) as fc.Arbitrary<Tree>,
    fc.record({
      op: fc.constantFrom('+', '-', '*', '/', '%', '=', '<>', '<', '<=', '>', '>=', 'AND', 'OR'),
      a: tie('tree'),
      b: tie('tree'),
    }) as fc.Arbitrary<Tree>,
    fc.record({
      op: fc.constant('in'),
      a: tie('tree'),
      items: fc.array(tie('tree'), { minLength: 1, maxLength: 3 }),
      negated: fc.constantFrom('', 'NOT'),
    }) as fc.Arbitrary<Tree>,
    fc.record({ op: fc.constant('null'), a: tie('tree'), negated: fc.constantFrom('', 'NOT') }) as fc.Arbitrary<Tree>,
  ),
}))

describe('B56 agreement', () => {
  it('100,000 random filters agree with a slow reference evaluator', () => {
    let compared = 0
    let accepted = 0
    fc.assert(
      fc.property(tree, one => {
        const text = print(one)
        if (text.length > 1_024) return
        const expected = asTruth(evaluate(one)) === true
        compared++
        if (expected) accepted++
        expect(compileFilter(text)(source)).toBe(expected)
      }),
      { numRuns: 100_000 },
    )
    expect(compared).toBeGreaterThan(95_000)
    expect(accepted).toBeGreaterThan(5_000)
  })

  it('random text gives a filter or the typed error, never anything else', () => {
    const piece = fc.constantFrom(
      "'",
      '"',
      '[',
      ']',
      '(',
      ')',
      ' ',
      'a',
      '1',
      '.',
      'E',
      'NOT ',
      'IN',
      'LIKE',
      '=',
      '<',
      '-',
      '%',
      ',',
      '\u{1F600}',
      '\0',
    )
    let refusals = 0
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary', maxLength: 60 }),
          fc.array(piece, { maxLength: 40 }).map(p => p.join('')),
        ),
        text => {
          try {
            expect(typeof compileFilter(text)(source)).toBe('boolean')
          } catch (error) {
            refusals++
            if (!hasCode(error, 'BUZZER_FILTER_INVALID')) throw error
          }
        },
      ),
      { numRuns: 20_000 },
    )
    expect(refusals).toBeGreaterThan(10_000)
  })
})
