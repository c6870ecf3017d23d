import { describe, expect, test } from 'vitest'
import { testConsole } from './console.test-double.ts'
import { age, type Column, Output } from './output.ts'

interface Row {
  readonly name: string
  readonly text: string
}

const columns: readonly Column<Row>[] = [
  { title: 'NAME', cell: ({ name }) => name },
  { title: 'TEXT', cell: ({ text }) => text },
]
const rows: readonly Row[] = [
  { name: 'a', text: 'first' },
  { name: 'longer', text: 'a text that is too long for a narrow terminal' },
]

const ago = (ms: number): string => age(new Date(10_000_000_000 - ms), 10_000_000_000)

describe('output', () => {
  test('is a table on a terminal and one line of JSON per row elsewhere', () => {
    const terminal = testConsole({ isTerminal: true })
    new Output(terminal.console, undefined).rows(rows, columns, 'nothing')
    expect(terminal.written()).toBe(
      'NAME    TEXT\na       first\nlonger  a text that is too long for a narrow terminal\n',
    )
    const pipe = testConsole({ isTerminal: false })
    new Output(pipe.console, undefined).rows(rows, columns, 'nothing')
    expect(
      pipe
        .written()
        .trimEnd()
        .split('\n')
        .map(line => JSON.parse(line) as unknown),
    ).toEqual(rows)
  })

  test('fits the width of the terminal by cutting the last column', () => {
    const narrow = testConsole({ isTerminal: true, columns: 24 })
    new Output(narrow.console, undefined).rows(rows, columns, 'nothing')
    expect(narrow.written()).toBe('NAME    TEXT\na       first\nlonger  a text that is …\n')
  })

  test('of nothing is a sentence on a terminal and no line elsewhere', () => {
    const terminal = testConsole({ isTerminal: true })
    new Output(terminal.console, undefined).rows([], columns, 'nothing')
    expect(terminal.written()).toBe('nothing\n')
    const pipe = testConsole({ isTerminal: false })
    new Output(pipe.console, undefined).rows([], columns, 'nothing')
    expect(pipe.written()).toBe('')
  })

  test('lets no control character of a payload reach the terminal', () => {
    const terminal = testConsole({ isTerminal: true })
    new Output(terminal.console, 'table').rows([{ name: 'a', text: 'x\u001B[2Jy\nz' }], columns, '')
    expect(terminal.written()).toContain('x [2Jy z')
  })

  test('tells ages in the largest unit that says something', () => {
    expect([ago(0), ago(59_400), ago(60_000), ago(3_600_000 * 5), ago(86_400_000 * 3)]).toEqual([
      '0s',
      '59s',
      '1m',
      '5h',
      '3d',
    ])
  })
})
