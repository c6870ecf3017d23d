import { type Clock, processClock } from './clock.ts'
import { type Empty, empty } from './empty.ts'
import { ChannelClosedError, closedError } from './errors.ts'
import { requireMs, requireOneOf, type WaitOptions } from './options.ts'
import type { ChannelReader } from './reader.ts'
import { Turn } from './turn.ts'
import { type Findings, waitForAny } from './wait-for-any.ts'

/** The type of a reader's items. */
export type ItemOf<R> = R extends ChannelReader<infer T> ? T : never

/** What `select` and `merge` of named readers answer: one of them, by its name. */
export type Selected<C> = { [K in keyof C & string]: { key: K; value: ItemOf<C[K]> } }[keyof C & string]

// oxlint-disable-next-line typescript/no-explicit-any -- readers of any item types side by side
export type AnyReader = ChannelReader<any>

export interface SelectOptions extends WaitOptions {
  /** Answer `Channel.empty` after so long; 0 never waits. Default: no limit. */
  timeoutMs?: number | undefined
  /** Default: the process's timers. */
  clock?: Clock | undefined
  /** Which of several ready cases wins: the first listed, or any. Default `listed`. */
  order?: 'listed' | 'random' | undefined
}

const turn = new Turn()

/**
 * Takes exactly one item from exactly one of the readers; the others keep theirs, and no wait of this call stays with
 * them. A case that ended is out; when all have ended it rejects with `BUZZER_CHANNEL_CLOSED`. A case that ended with an
 * error rejects it in the same way, unless an item is ready elsewhere. Waits by hints: over a rendezvous it is met by
 * `write`, not by `tryWrite`. Rejects with `signal.reason`. Source: spec channels 2.7.
 */
export function select<C extends Record<string, AnyReader>>(
  cases: C,
  options: SelectOptions & { timeoutMs: number },
): Promise<Selected<C> | Empty>
export function select<C extends Record<string, AnyReader>>(cases: C, options?: SelectOptions): Promise<Selected<C>>
export function select<C extends Record<string, AnyReader>>(
  cases: C,
  options: SelectOptions = {},
): Promise<Selected<C> | Empty> {
  if (options.timeoutMs !== undefined) requireMs('timeoutMs', options.timeoutMs)
  if (options.order !== undefined) requireOneOf('order', options.order, ['listed', 'random'])
  return choose(new Map(Object.entries(cases)), options) as Promise<Selected<C> | Empty>
}

async function choose(open: Map<string, AnyReader>, options: SelectOptions): Promise<unknown> {
  const { signal, timeoutMs = Infinity, clock = processClock } = options
  let timedOut = timeoutMs === 0
  let giveUp: (() => void) | undefined
  let timer: unknown
  signal?.throwIfAborted()
  try {
    for (;;) {
      const taken = takeOne(open, options.order === 'random')
      if (taken !== empty) return await turn.promise(taken)
      if (open.size === 0) throw new ChannelClosedError('every case of select has ended')
      // A closed reader with nothing left tells its end at once, so that asking is no waiting.
      const asked = timedOut ? [...open.values()].filter(reader => reader.closed) : [...open.values()]
      if (asked.length === 0) return empty
      if (timer === undefined && !timedOut && timeoutMs !== Infinity) {
        timer = clock.setTimeout(() => {
          timedOut = true
          giveUp?.()
        }, timeoutMs)
      }
      const findings = await waitForAny(asked, signal, stop => {
        giveUp = stop
      })
      giveUp = undefined
      if (findings !== undefined) {
        const late = settleEnds(open, findings, options.order === 'random')
        if (late !== empty) return late
      }
    }
  } finally {
    if (timer !== undefined) clock.clearTimeout(timer)
  }
}

function takeOne(open: Map<string, AnyReader>, shuffled: boolean): { key: string; value: unknown } | Empty {
  const entries = [...open]
  // Chance decides between equals here, nothing that a test would have to repeat.
  const first = shuffled ? Math.floor(Math.random() * entries.length) : 0
  for (let index = 0; index < entries.length; index++) {
    const [key, reader] = entries[(first + index) % entries.length] as [string, AnyReader]
    const value: unknown = reader.tryRead()
    if (value !== empty) return { key, value }
  }
  return empty
}

/** Takes the ended ones out. A failure is told only if no item is ready elsewhere. */
function settleEnds(
  open: Map<string, AnyReader>,
  { ended, failed }: Findings,
  shuffled: boolean,
): { key: string; value: unknown } | Empty {
  for (const [key, reader] of open) if (ended.includes(reader)) open.delete(key)
  if (failed === undefined) return empty
  const taken = takeOne(open, shuffled)
  if (taken === empty) throw closedError({ error: failed.error })
  return taken
}
