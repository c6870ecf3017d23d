import { AbortedError } from 'buzzer'

interface Entry<Item, Result> {
  readonly item: Item
  readonly weight: number
  readonly resolve: (result: Result) => void
  readonly reject: (error: unknown) => void
}

export interface GroupCommitOptions<Item, Result> {
  /** What is aborted, for its error: 'the commit'. */
  readonly what: string
  /** Items of one transaction at most. */
  readonly maxItems: number
  /** Weights of one transaction at most; a heavier item goes alone. */
  readonly maxWeight: number
  readonly weigh: (item: Item) => number
  /** Commits a batch, in order. A rejection is that of every item; an `Error` among the results that of its item alone. */
  readonly run: (items: readonly Item[]) => Promise<readonly (Result | Error)[]>
}

/**
 * One transaction for all that came while the one before was under way: nobody waits for a timer, and under load the price
 * of a commit is shared. Items keep the order of the calls. What waits is bounded by its callers: each item is one promise
 * that somebody awaits.
 */
export class GroupCommit<Item, Result> {
  readonly #options: GroupCommitOptions<Item, Result>
  readonly #waiting = new Set<Entry<Item, Result>>()
  #running: Promise<void> | undefined

  constructor(options: GroupCommitOptions<Item, Result>) {
    this.#options = options
  }

  /** `signal`: BUZZER_ABORTED at once; `details.outcome` is `not-stored` while the item waits, `unknown` when it is under way. */
  async commit(item: Item, signal?: AbortSignal): Promise<Result> {
    const { what, weigh } = this.#options
    if (signal?.aborted === true) throw new AbortedError(signal, what, { outcome: 'not-stored' })
    const { promise, resolve, reject } = Promise.withResolvers<Result>()
    const entry: Entry<Item, Result> = { item, weight: weigh(item), resolve, reject }
    this.#waiting.add(entry)
    const abort = (): void => {
      const outcome = this.#waiting.delete(entry) ? 'not-stored' : 'unknown'
      reject(new AbortedError(signal as AbortSignal, what, { outcome }))
    }
    signal?.addEventListener('abort', abort, { once: true })
    this.#running ??= this.#run()
    try {
      return await promise
    } finally {
      signal?.removeEventListener('abort', abort)
    }
  }

  /** Resolves when nothing waits and nothing is under way. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running
  }

  async #run(): Promise<void> {
    // What is called in the same turn of the event loop goes together.
    await Promise.resolve()
    while (this.#waiting.size > 0) await this.#commitBatch(this.#take())
    this.#running = undefined
  }

  #take(): readonly Entry<Item, Result>[] {
    const { maxItems, maxWeight } = this.#options
    const batch: Entry<Item, Result>[] = []
    let weight = 0
    for (const entry of this.#waiting) {
      if (batch.length >= maxItems || (batch.length > 0 && weight + entry.weight > maxWeight)) break
      batch.push(entry)
      weight += entry.weight
    }
    for (const entry of batch) this.#waiting.delete(entry)
    return batch
  }

  async #commitBatch(batch: readonly Entry<Item, Result>[]): Promise<void> {
    try {
      const results = await this.#options.run(batch.map(entry => entry.item))
      for (const [at, entry] of batch.entries()) {
        const result = results[at] as Result | Error
        if (result instanceof Error) entry.reject(result)
        else entry.resolve(result)
      }
    } catch (error) {
      for (const entry of batch) entry.reject(error)
    }
  }
}
