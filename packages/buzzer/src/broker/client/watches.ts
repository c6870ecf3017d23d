import type { Logger } from '../../message/index.ts'
import type { Request } from '../protocol/index.ts'

interface Watch {
  readonly collection: string
  readonly id: string
  readonly onChange: () => void
}

/** The records that a session's store watches. */
export class Watches {
  readonly #ask: (request: Request) => Promise<unknown>
  readonly #logger: Logger
  readonly #watches = new Map<number, Watch>()
  #lastId = 0

  constructor(ask: (request: Request) => Promise<unknown>, logger: Logger) {
    this.#ask = ask
    this.#logger = logger
  }

  get count(): number {
    return this.#watches.size
  }

  async add(collection: string, id: string, onChange: () => void): Promise<AsyncDisposable> {
    const watchId = ++this.#lastId
    this.#watches.set(watchId, { collection, id, onChange })
    await this.#ask({ call: 'store-watch', watchId, collection, id })
    return {
      [Symbol.asyncDispose]: async () => {
        if (this.#watches.delete(watchId)) await this.#ask({ call: 'store-unwatch', watchId })
      },
    }
  }

  changed(watchId: number): void {
    const watch = this.#watches.get(watchId)
    if (watch === undefined) return
    try {
      watch.onChange()
    } catch (error) {
      this.#logger.error({ error, collection: watch.collection, recordId: watch.id }, 'a watcher threw')
    }
  }

  /** Asks a new connection again; what changed meanwhile is not known, so every watcher looks. */
  async repeat(): Promise<void> {
    await Promise.all(
      [...this.#watches].map(async ([watchId, { collection, id }]) => {
        try {
          await this.#ask({ call: 'store-watch', watchId, collection, id })
        } catch (error) {
          this.#logger.error(
            { error, collection, recordId: id },
            'a watch could not go on after the broker changed hands',
          )
        }
        this.changed(watchId)
      }),
    )
  }

  clear(): void {
    this.#watches.clear()
  }
}
