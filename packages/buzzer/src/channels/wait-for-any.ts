import type { ChannelReader } from './reader.ts'

/** What a common wait brought to light. */
export interface Findings {
  /** Readers that ended without error. */
  readonly ended: readonly ChannelReader<unknown>[]
  /** The first reader that ended with one. */
  readonly failed: { readonly reader: ChannelReader<unknown>; readonly error: unknown } | undefined
}

/**
 * Waits until one of the readers has something to tell: an item (a hint), an end or an error. Then no wait of its own
 * is left at any of them. Rejects with `signal.reason`. Answers `undefined` when `until` called back first.
 */
export function waitForAny(
  readers: Iterable<ChannelReader<unknown>>,
  signal: AbortSignal | undefined,
  until?: (giveUp: () => void) => void,
): Promise<Findings | undefined> {
  const withdraw = new AbortController()
  const ended: ChannelReader<unknown>[] = []
  let failed: Findings['failed']
  return new Promise((resolve, reject) => {
    const settle = (tell: () => void): void => {
      signal?.removeEventListener('abort', onAbort)
      withdraw.abort()
      tell()
    }
    const onAbort = (): void => settle(() => reject(signal?.reason))
    // The promise's own reaction comes last: by then those who settled in the same step have said so too.
    const found = (): void => settle(() => resolve(Promise.resolve().then(() => ({ ended, failed }))))
    signal?.addEventListener('abort', onAbort)
    until?.(() => settle(() => resolve(undefined)))
    for (const reader of readers) {
      reader.waitToRead({ signal: withdraw.signal }).then(
        ready => {
          if (!ready) ended.push(reader)
          if (!withdraw.signal.aborted) found()
        },
        (error: unknown) => {
          if (withdraw.signal.aborted && error === withdraw.signal.reason) return
          failed ??= { reader, error }
          if (!withdraw.signal.aborted) found()
        },
      )
    }
  })
}
