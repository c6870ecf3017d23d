import { matchPattern, parsePattern } from './like.ts'
import { invalidFilter, maxFilterLength, type Token, tokenize } from './token.ts'
import { compare, finite, not, type Order, toNumber, toTruth, type Truth, type Value } from './value.ts'

/** What a filter may look at: names are in lower case. The body is out of reach. */
export interface FilterSource {
  header(name: string): string | undefined
  /** A CloudEvents attribute, or `id`, `type`, `key`, `priority`. */
  system(name: string): string | number | undefined
}

/** A compiled filter. Never throws, whatever the message; accepts only what is *true*. */
export type Filter = (source: FilterSource) => boolean

type Evaluate = (source: FilterSource) => Value

/** How tightly an operator binds; a higher one first. */
const binding = { or: 1, and: 2, not: 3, comparison: 4, sum: 5, product: 6, sign: 7 } as const

const reserved = new Set(['and', 'or', 'not', 'is', 'null', 'in', 'like', 'escape', 'exists', 'true', 'false'])

/**
 * Compiles a filter of the SQL-92-like subset. Source: spec broker 3, after Azure Service Bus's SqlFilter.
 * @throws BUZZER_FILTER_INVALID with `details.position`
 */
export function compileFilter(text: string): Filter {
  if (text.length > maxFilterLength) {
    throw invalidFilter(
      text,
      maxFilterLength,
      `it has ${text.length} characters, at most ${maxFilterLength} are allowed`,
    )
  }
  const evaluate = new Parser(text).parse()
  return source => toTruth(evaluate(source)) === true
}

/** Precedence climbing: two frames per level of nesting, so the longest filter nests safely. */
class Parser {
  readonly #text: string
  readonly #tokens: readonly Token[]
  #next = 0

  constructor(text: string) {
    this.#text = text
    this.#tokens = tokenize(text)
  }

  parse(): Evaluate {
    const whole = this.#expression(0)
    if (this.#peek().kind !== 'end') throw this.#unexpected('an operator or the end')
    return whole
  }

  #expression(least: number): Evaluate {
    let left = this.#operand()
    for (;;) {
      const operator = this.#operator()
      if (operator === undefined || operator.binds < least) return left
      left = this.#infix(left, operator.name, operator.binds)
    }
  }

  /** The infix operator that stands here, not yet taken. */
  #operator(): { readonly name: string; readonly binds: number } | undefined {
    const token = this.#peek()
    if (token.kind === 'symbol') {
      if (token.value === '+' || token.value === '-') return { name: token.value, binds: binding.sum }
      if (token.value === '*' || token.value === '/' || token.value === '%') {
        return { name: token.value, binds: binding.product }
      }
      if (comparisons.has(token.value)) return { name: token.value, binds: binding.comparison }
      return undefined
    }
    if (token.kind !== 'word') return undefined
    switch (token.value) {
      case 'or':
        return { name: 'or', binds: binding.or }
      case 'and':
        return { name: 'and', binds: binding.and }
      case 'is':
      case 'in':
      case 'like':
      case 'not':
        return { name: token.value, binds: binding.comparison }
      default:
        return undefined
    }
  }

  #infix(left: Evaluate, name: string, binds: number): Evaluate {
    this.#next++
    switch (name) {
      case 'or': {
        const right = this.#expression(binding.or + 1)
        return source => or(toTruth(left(source)), () => toTruth(right(source)))
      }
      case 'and': {
        const right = this.#expression(binding.and + 1)
        return source => and(toTruth(left(source)), () => toTruth(right(source)))
      }
      case 'is': {
        const negated = this.#take('not')
        if (!this.#take('null')) throw this.#unexpected('NULL')
        this.#noChain()
        return negated ? source => left(source) !== undefined : source => left(source) === undefined
      }
      case 'not': {
        // `a NOT IN (…)` and `a NOT LIKE …`; NOT in front of an operand is handled there.
        const inside = this.#take('in') ? this.#in(left) : this.#take('like') ? this.#like(left) : undefined
        if (inside === undefined) throw this.#unexpected('IN or LIKE')
        return source => not(inside(source))
      }
      case 'in':
        return this.#in(left)
      case 'like':
        return this.#like(left)
      default: {
        const right = this.#expression(binds + 1)
        const test = comparisons.get(name)
        if (test === undefined) return arithmetic(name, left, right)
        this.#noChain()
        return source => {
          const order = compare(left(source), right(source))
          return order === undefined ? undefined : test(order)
        }
      }
    }
  }

  /** `a = b = c` has no agreed meaning; better no filter than a surprising one. */
  #noChain(): void {
    if (this.#operator()?.binds === binding.comparison) throw this.#unexpected('AND, OR or the end')
  }

  #in(left: Evaluate): (source: FilterSource) => Truth {
    this.#expect('(')
    const items = [this.#expression(binding.sum)]
    while (this.#takeSymbol(',')) items.push(this.#expression(binding.sum))
    this.#expect(')')
    this.#noChain()
    return source => {
      const value = left(source)
      let answer: Truth = false
      for (const item of items) {
        const order = compare(value, item(source))
        if (order === undefined) answer = undefined
        else if (isEqual(order)) return true
      }
      return answer
    }
  }

  #like(left: Evaluate): (source: FilterSource) => Truth {
    const at = this.#peek().at
    const first = this.#peek()
    if (first.kind !== 'text') throw this.#unexpected("a pattern in '…'")
    this.#next++
    let escape: string | undefined
    if (this.#take('escape')) {
      const token = this.#peek()
      if (token.kind !== 'text' || Array.from(token.value).length !== 1) throw this.#unexpected("one character in '…'")
      escape = token.value
      this.#next++
    }
    const steps = parsePattern(first.value, escape)
    if (steps === undefined) throw invalidFilter(this.#text, at, 'the pattern ends in its escape character')
    this.#noChain()
    return source => matchPattern(steps, left(source))
  }

  #operand(): Evaluate {
    const token = this.#peek()
    switch (token.kind) {
      case 'number': {
        this.#next++
        const value = finite(token.value)
        return () => value
      }
      case 'text':
        this.#next++
        return () => token.value
      case 'name':
        return this.#property()
      case 'word':
        return this.#word(token.value)
      case 'symbol':
        if (this.#takeSymbol('(')) {
          const inside = this.#expression(0)
          this.#expect(')')
          return inside
        }
        if (token.value === '-' || token.value === '+') {
          this.#next++
          const operand = this.#expression(binding.sign)
          const sign = token.value === '-' ? -1 : 1
          return source => {
            const value = toNumber(operand(source))
            return value === undefined ? undefined : sign * value
          }
        }
        throw this.#unexpected('a value')
      default:
        throw this.#unexpected('a value')
    }
  }

  #word(word: string): Evaluate {
    switch (word) {
      case 'true':
      case 'false': {
        this.#next++
        const value = word === 'true'
        return () => value
      }
      case 'null':
        this.#next++
        return () => undefined
      case 'not': {
        this.#next++
        const operand = this.#expression(binding.not)
        return source => not(toTruth(operand(source)))
      }
      case 'exists': {
        this.#next++
        this.#expect('(')
        const property = this.#property()
        this.#expect(')')
        return source => property(source) !== undefined
      }
      default:
        return this.#property()
    }
  }

  /** `name`, `user.name`, `sys.name`; each name bare, in brackets or in double quotes. */
  #property(): Evaluate {
    const token = this.#peek()
    const first = this.#name()
    if (!this.#takeSymbol('.')) return source => source.header(first)
    if (token.kind !== 'word' || (first !== 'user' && first !== 'sys')) {
      throw invalidFilter(this.#text, token.at, `the scope ${JSON.stringify(first)} is neither user nor sys`)
    }
    const name = this.#name()
    return first === 'user' ? source => source.header(name) : source => source.system(name)
  }

  #name(): string {
    const token = this.#peek()
    if (token.kind !== 'name' && (token.kind !== 'word' || reserved.has(token.value))) {
      throw this.#unexpected('the name of a property')
    }
    this.#next++
    return token.value
  }

  #peek(): Token {
    // The last token is `end`, and nothing goes past it.
    return this.#tokens[this.#next] as Token
  }

  #take(keyword: string): boolean {
    const token = this.#peek()
    if (token.kind !== 'word' || token.value !== keyword) return false
    this.#next++
    return true
  }

  #takeSymbol(symbol: string): boolean {
    const token = this.#peek()
    if (token.kind !== 'symbol' || token.value !== symbol) return false
    this.#next++
    return true
  }

  #expect(symbol: string): void {
    if (!this.#takeSymbol(symbol)) throw this.#unexpected(JSON.stringify(symbol))
  }

  #unexpected(wanted: string): Error {
    const token = this.#peek()
    const found = token.kind === 'end' ? 'it ends' : `${JSON.stringify(token.value)} stands`
    return invalidFilter(this.#text, token.at, `${found} where ${wanted} is expected`)
  }
}

const ordered =
  (test: (order: number) => boolean) =>
  (order: Order): Truth =>
    typeof order === 'number' ? test(order) : undefined

const isEqual = (order: Order): boolean => order === 0 || order === 'same'

const comparisons: ReadonlyMap<string, (order: Order) => Truth> = new Map<string, (order: Order) => Truth>([
  ['=', isEqual],
  ['<>', order => !isEqual(order)],
  ['!=', order => !isEqual(order)],
  ['<', ordered(order => order < 0)],
  ['<=', ordered(order => order <= 0)],
  ['>', ordered(order => order > 0)],
  ['>=', ordered(order => order >= 0)],
])

function and(left: Truth, right: () => Truth): Truth {
  if (left === false) return false
  const other = right()
  return other === false ? false : left === undefined ? undefined : other
}

function or(left: Truth, right: () => Truth): Truth {
  if (left === true) return true
  const other = right()
  return other === true ? true : left === undefined ? undefined : other
}

function arithmetic(name: string, left: Evaluate, right: Evaluate): Evaluate {
  return source => {
    const a = toNumber(left(source))
    const b = toNumber(right(source))
    if (a === undefined || b === undefined) return undefined
    switch (name) {
      case '+':
        return finite(a + b)
      case '-':
        return finite(a - b)
      case '*':
        return finite(a * b)
      case '/':
        return finite(a / b)
      default:
        return finite(a % b)
    }
  }
}
