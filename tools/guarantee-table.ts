// npm run guarantees: writes the table of what each transport guarantees, generated from the capabilities, into README.md.
// A test compares the two.
import { readFileSync, writeFileSync } from 'node:fs'
import { postgres } from '@buzzer/postgres'
import { rabbitmq } from '@buzzer/rabbitmq'
import { embedded } from 'buzzer/embedded'
import { memory } from 'buzzer/memory'
import { type Capabilities, guaranteesOf } from 'buzzer/transport'

/** As they are made; `connect` may raise what depends on the server's version. Nothing is opened. */
const transports: Readonly<Record<string, Capabilities>> = {
  memory: memory().capabilities,
  embedded: embedded({ path: './data/shop.db' }).capabilities,
  PostgreSQL: postgres({ connectionString: 'postgres://localhost/shop' }).capabilities,
  RabbitMQ: rabbitmq({ url: 'amqp://localhost' }).capabilities,
}
const readme = new URL('../README.md', import.meta.url)
const [begin, end] = ['<!-- guarantees: npm run guarantees -->\n', '<!-- /guarantees -->\n']

export function guaranteeTable(): string {
  const columns = Object.values(transports).map(guaranteesOf)
  const rows = (columns[0] ?? []).map(({ name }, row) => [
    name,
    ...columns.map(guarantees => {
      const { how, detail } = guarantees[row] ?? { how: 'refused', detail: '' }
      const mark = { native: '✓', emulated: '○', refused: '–' }[how]
      return detail === '' ? mark : `${mark} ${detail}`
    }),
  ])
  const lines = [['', ...Object.keys(transports)], Array.from({ length: columns.length + 1 }, () => '---'), ...rows]
  return lines.map(cells => `| ${cells.join(' | ')} |\n`).join('')
}

/** The README with the table of now. */
export function withGuaranteeTable(text: string): string {
  const [from, to] = [text.indexOf(begin), text.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`README.md has no lines ${begin.trim()} and ${end.trim()}`)
  return text.slice(0, from + begin.length) + guaranteeTable() + text.slice(to)
}

if (import.meta.main) writeFileSync(readme, withGuaranteeTable(readFileSync(readme, 'utf8')))
