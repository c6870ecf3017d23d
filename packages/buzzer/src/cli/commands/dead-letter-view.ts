import type { DeadLetter } from '../../bus/index.ts'
import { age, type Column } from '../output.ts'

export const columns = (now: number): readonly Column<DeadLetter>[] => [
  { title: 'QUEUE', cell: ({ queue }) => queue },
  { title: 'ID', cell: ({ id }) => id },
  { title: 'TYPE', cell: ({ type }) => type ?? '–' },
  { title: 'REASON', cell: ({ reason }) => reason },
  { title: 'ATTEMPTS', cell: ({ attempts }) => String(attempts) },
  { title: 'DEAD FOR', cell: ({ deadAt }) => age(deadAt, now) },
  { title: 'ERROR', cell: ({ error }) => (error === undefined ? '–' : `${error.name}: ${error.message}`) },
]

/** A dead letter in a list: bodies are for `show`. */
export function withoutBody(letter: DeadLetter): DeadLetter {
  const { body: _, ...rest } = letter
  return rest as DeadLetter
}

/** Everything about one, for people. */
export function describe(letter: DeadLetter): string {
  const facts: readonly (readonly [string, unknown])[] = [
    ['id', letter.id],
    ['queue', letter.queue],
    ['message', letter.messageId],
    ['type', letter.type],
    ['reason', letter.reason],
    ['attempts', letter.attempts],
    ['dead since', letter.deadAt.toISOString()],
    ['sent', letter.sentAt?.toISOString()],
    ['redrives', letter.redrives],
    ['group', letter.fingerprint],
    ['key', letter.key],
    ['correlation', letter.correlationId],
    ['conversation', letter.conversationId],
    ['caused by', letter.causationId],
    ['handled by', `${letter.host.bus} on ${letter.host.hostname}, process ${letter.host.pid}`],
    ['detail', letter.detail === undefined ? undefined : JSON.stringify(letter.detail)],
    ['headers', JSON.stringify(letter.headers)],
  ]
  const lines = facts
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name.padEnd(13)}${String(value)}`)
  if (letter.error !== undefined) lines.push('', letter.error.stack ?? `${letter.error.name}: ${letter.error.message}`)
  for (const cause of letter.error?.causes ?? []) lines.push(`caused by ${cause.name}: ${cause.message}`)
  lines.push('', letter.data === undefined ? Buffer.from(letter.body).toString() : JSON.stringify(letter.data, null, 2))
  return lines.join('\n')
}
