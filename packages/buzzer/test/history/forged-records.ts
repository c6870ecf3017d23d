import type { HistoryMessage, HistoryRecord, Outcome, Promises, RecordOf } from '../../src/testing/index.ts'

/** Short words for the histories that tests forge. Process `p` sends, `c` handles, everything goes to queue `q`. */
type Without<R, K extends keyof R> = Partial<Omit<R, K>>

export const message = (id: string, more: Partial<HistoryMessage> = {}): HistoryMessage => ({
  id,
  queue: 'q',
  hash: `h-${id}`,
  ...more,
})

let calls = 0

/** A send of one message, or with an array of some, from `at` to one millisecond later. */
export function sent(
  messages: string | HistoryMessage | readonly HistoryMessage[],
  at: number,
  outcome: Outcome | 'never' = 'ok',
  more: Without<RecordOf<'send'>, 'as' | 'at' | 'messages'> & {
    readonly wall?: number
    readonly outcomes?: Outcome[]
  } = {},
): HistoryRecord[] {
  const { wall, outcomes, ...own } = more
  const call = ++calls
  const list = typeof messages === 'string' ? [message(messages)] : 'id' in messages ? [messages] : messages
  const facts = { process: own.process ?? 'p', call }
  const end: HistoryRecord = {
    as: 'sent',
    at: at + 1,
    ...facts,
    outcome: outcome === 'never' ? 'unknown' : outcome,
    ...(wall === undefined ? {} : { wall }),
    ...(outcomes === undefined ? {} : { outcomes }),
  }
  return [{ as: 'send', at, messages: list, ...own, ...facts }, ...(outcome === 'never' ? [] : [end])]
}

export const begun = (
  id: string,
  at: number,
  more: Without<RecordOf<'begun'>, 'as' | 'id' | 'at'> = {},
): HistoryRecord => ({
  as: 'begun',
  process: 'c',
  at,
  wall: at,
  id,
  queue: 'q',
  hash: `h-${id}`,
  attempt: 1,
  ...more,
})

export const answered = (
  id: string,
  at: number,
  more: Without<RecordOf<'answered'>, 'as' | 'id' | 'at'> = {},
): HistoryRecord => ({ as: 'answered', process: 'c', at, id, queue: 'q', attempt: 1, how: 'ack', ...more })

/** A handling that takes a millisecond. */
export const handled = (
  id: string,
  at: number,
  more: Without<RecordOf<'answered'>, 'as' | 'id' | 'at'> & { readonly key?: string; readonly wall?: number } = {},
): HistoryRecord[] => {
  const { key, wall, ...answer } = more
  const { process = 'c', queue = 'q', attempt = 1 } = answer
  return [
    begun(id, at, {
      process,
      queue,
      attempt,
      ...(key === undefined ? {} : { key }),
      ...(wall === undefined ? {} : { wall }),
    }),
    answered(id, at + 1, answer),
  ]
}

/** One message from its send to its ack. */
export const whole = (id: string, at: number): HistoryRecord[] => [...sent(id, at), ...handled(id, at + 2)]

export const present = (id: string, more: Without<RecordOf<'present'>, 'as' | 'id'> = {}): HistoryRecord => ({
  as: 'present',
  id,
  queue: 'q',
  state: 'ready',
  hash: `h-${id}`,
  ...more,
})

export const recorded = (id: string): HistoryRecord => ({ as: 'record', id })

export const killed = (process: string, at: number, deadAt = at): HistoryRecord[] => [
  { as: 'killed', process, at },
  { as: 'dead', process, at: deadAt },
]

export const stopped = (
  process: string,
  at: number,
  until: number,
  what: 'process' | 'loop' = 'process',
): HistoryRecord[] => [
  { as: 'stopped', process, at, what },
  { as: 'continued', process, at: until, what },
]

export const cut = (at: number, process?: string): HistoryRecord => ({
  as: 'cut',
  at,
  ...(process === undefined ? {} : { process }),
})

export const lost = (id: string, at: number, more: Partial<RecordOf<'lost'>> = {}): HistoryRecord => ({
  as: 'lost',
  process: 'c',
  at,
  id,
  queue: 'q',
  attempt: 1,
  ...more,
})

/** An operator's step on some messages of `q`, from `at` to one millisecond later. */
export function operated(
  op: RecordOf<'operation'>['op'],
  ids: readonly string[] | undefined,
  at: number,
  outcome: Outcome = 'ok',
): HistoryRecord[] {
  const call = ++calls
  return [
    { as: 'operation', process: 'operator', at, call, op, queue: 'q', ...(ids === undefined ? {} : { ids }) },
    { as: 'operated', process: 'operator', at: at + 1, call, outcome },
  ]
}

/** A history, and by which promises it is judged: the strict ones unless it says others. */
export type Forged = readonly [what: string, history: readonly HistoryRecord[], promises?: Promises]

export const k = { key: 'k' }
export const out = (id: string): ReturnType<typeof message> => message(id, { queue: 'out' })
export const group = { id: 'g', size: 2 }
export const quiet: HistoryRecord = { as: 'quiet', at: 0 }
export const quietWith = (waiting: number): HistoryRecord => ({ as: 'quiet', at: 0, waiting })
export const drained = (at: number, left = 0): HistoryRecord => ({ as: 'drained', at, left })
export const probe = (at: number, outcome: 'ok' | 'fail' = 'ok'): HistoryRecord => ({ as: 'probe', at, outcome })
export const epoch = (since: number, value: number): HistoryRecord => ({
  as: 'epoch',
  process: 'c',
  since,
  at: since + 1,
  epoch: value,
})
export const equal = (id: string, windowMs = 100): ReturnType<typeof message> =>
  message(id, { deduplicate: { key: 'same', windowMs } })
