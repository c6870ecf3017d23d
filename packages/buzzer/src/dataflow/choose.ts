import { Channel, type Empty, type WaitOptions } from '../channels/index.ts'
import type { Source } from './block.ts'
import { BlockClosedError } from './errors.ts'
import { outletOf } from './faces.ts'
import type { Caller } from './line.ts'
import { checkMs } from './options.ts'
import type { Outlet } from './outlet.ts'

type OutputOf<S> = S extends Source<infer O> ? O : never

/** The item that was taken, under the name of the source it came from. */
export type Chosen<C> = { [K in keyof C & string]: { key: K; value: OutputOf<C[K]> } }[keyof C & string]

// oxlint-disable-next-line typescript/no-explicit-any -- the item types of the cases are inferred, and differ
type Cases = Record<string, Source<any>>

/**
 * Takes one item from one of the sources: from the first listed when several are ready. The others keep theirs, and no
 * waiter is left. Rejects with `BlockClosedError` when all sources have ended, or with `signal.reason`. With `timeoutMs`
 * (on the clock of the first source) it resolves to `Channel.empty` when the time is up; 0 never waits.
 */
export function choose<C extends Cases>(
  cases: C,
  options: WaitOptions & { timeoutMs: number },
): Promise<Chosen<C> | Empty>
export function choose<C extends Cases>(cases: C, options?: WaitOptions): Promise<Chosen<C>>
export async function choose<C extends Cases>(
  cases: C,
  options: WaitOptions & { timeoutMs?: number } = {},
): Promise<Chosen<C> | Empty> {
  const { signal } = options
  const sources = Object.entries(cases).map(([key, source]) => ({ key, outlet: outletOf<unknown>(source) }))
  if (options.timeoutMs !== undefined) checkMs('timeoutMs', options.timeoutMs)
  signal?.throwIfAborted()
  const alarm = new Alarm(options.timeoutMs, sources[0]?.outlet)
  try {
    for (;;) {
      for (const { key, outlet } of sources) {
        const value = outlet.tryReceive()
        if (value !== Channel.empty) return { key, value } as Chosen<C>
      }
      const open = sources.filter(({ outlet }) => !outlet.life.ended)
      if (open.length === 0) throw allEnded(sources.map(({ outlet }) => outlet))
      if (alarm.rung) return Channel.empty
      await firstHint(
        open.map(({ outlet }) => outlet),
        alarm,
        signal,
      )
    }
  } finally {
    alarm.stop()
  }
}

class Alarm {
  rung: boolean
  ring: () => void = () => {}
  readonly #stop: () => void

  constructor(ms: number | undefined, first: Outlet<unknown> | undefined) {
    this.rung = ms === 0
    this.#stop = () => {}
    if (ms === undefined || ms === 0 || first === undefined) return
    const { clock } = first.life
    const timer = clock.setTimeout(() => {
      this.rung = true
      this.ring()
    }, ms)
    this.#stop = () => clock.clearTimeout(timer)
  }

  stop(): void {
    this.#stop()
  }
}

/** Settles when one of the sources has something to tell, and leaves no waiter behind. */
async function firstHint(
  outlets: readonly Outlet<unknown>[],
  alarm: Alarm,
  signal: AbortSignal | undefined,
): Promise<void> {
  const hints: Caller<boolean>[] = outlets.map(outlet => outlet.takers.hinted(undefined))
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const aborted = (): void => reject(signal?.reason)
  signal?.addEventListener('abort', aborted)
  alarm.ring = resolve
  // A source that fails meanwhile is out: the loop looks at all of them again.
  for (const hint of hints)
    hint.promise.then(
      () => resolve(),
      () => resolve(),
    )
  try {
    await promise
  } finally {
    signal?.removeEventListener('abort', aborted)
    for (const hint of hints) hint.leave()
  }
}

function allEnded(outlets: readonly Outlet<unknown>[]): BlockClosedError {
  const failed = outlets.find(({ life }) => life.failed)
  const names = outlets.map(({ life }) => `"${life.name}"`).join(', ')
  return new BlockClosedError(
    `all blocks to choose from have ended: ${names}`,
    failed === undefined ? {} : { cause: failed.life.error },
  )
}
