import { Turn } from './turn.ts'

type Offer<T> = (item: T, signal: AbortSignal | undefined) => Promise<void> | undefined

/** The loop behind `writeAll`: no promise for items that are accepted at once, save for the event loop's turn. */
export async function writeAll<T>(
  items: Iterable<T> | AsyncIterable<T>,
  offer: Offer<T>,
  signal: AbortSignal | undefined,
): Promise<number> {
  signal?.throwIfAborted()
  return Symbol.asyncIterator in items ? fromAsync(items, offer, signal) : fromSync(items, offer, signal)
}

async function fromSync<T>(items: Iterable<T>, offer: Offer<T>, signal: AbortSignal | undefined): Promise<number> {
  const turn = new Turn()
  let written = 0
  for (const item of items) {
    const waiting = offer(item, signal)
    if (waiting !== undefined) await waiting
    else if (turn.due()) await turn.promise(undefined)
    written++
  }
  return written
}

async function fromAsync<T>(
  items: AsyncIterable<T>,
  offer: Offer<T>,
  signal: AbortSignal | undefined,
): Promise<number> {
  const turn = new Turn()
  const iterator = items[Symbol.asyncIterator]()
  let written = 0
  let pulling = false
  // One listener for the whole loop, and no race against a promise that outlives the pull: that would keep every pull.
  let giveUp: ((reason: unknown) => void) | undefined
  const onAbort = (): void => giveUp?.(signal?.reason)
  signal?.addEventListener('abort', onAbort)
  const pull = (): Promise<IteratorResult<T>> =>
    new Promise((resolve, reject) => {
      giveUp = reject
      iterator.next().then(resolve, reject)
    })
  try {
    for (;;) {
      signal?.throwIfAborted()
      pulling = true
      const result = await pull()
      pulling = false
      if (result.done) return written
      const waiting = offer(result.value, signal)
      if (waiting !== undefined) await waiting
      else if (turn.due()) await turn.promise(undefined)
      written++
    }
  } catch (error) {
    const closing = iterator.return?.()
    // A source still at work answers `return` only when it is done with that: nobody can wait for it.
    if (pulling) closing?.then(undefined, () => {})
    else await closing
    throw error
  } finally {
    signal?.removeEventListener('abort', onAbort)
  }
}
