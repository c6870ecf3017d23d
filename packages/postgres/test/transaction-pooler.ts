import { EventEmitter } from 'node:events'
import pg from 'pg'
import type { PoolLike } from '../src/index.ts'

type Client = Awaited<ReturnType<PoolLike['connect']>>

/**
 * What a pooler in transaction mode does to its clients: each statement outside a transaction goes to whatever server
 * connection comes next, so nothing is kept from one to the next, and notifications reach nobody.
 */
export class TransactionPooler implements PoolLike, AsyncDisposable {
  readonly #backends: pg.Client[]
  readonly #ready: Promise<unknown>
  readonly #busy = new Map<pg.Client, Promise<unknown>>()
  #turn = 0
  /** Statements that were prepared by name. */
  named = 0
  statements = 0

  constructor(url: string, backends: number) {
    this.#backends = Array.from({ length: backends }, () => new pg.Client({ connectionString: url }))
    for (const backend of this.#backends) backend.on('error', () => undefined)
    this.#ready = Promise.all(this.#backends.map(backend => backend.connect()))
  }

  async connect(): Promise<Client> {
    await this.#ready
    let pinned: { readonly backend: pg.Client; readonly release: () => void } | undefined
    const events = new EventEmitter()
    const query = async (statement: string | { text: string; values?: unknown[]; name?: string }): Promise<unknown> => {
      const { text, values, name } = typeof statement === 'string' ? { text: statement } : statement
      this.statements++
      if (name !== undefined) this.named++
      if (text === 'begin') pinned = await this.#pin()
      const held = pinned ?? (await this.#pin())
      try {
        return await held.backend.query(text, values)
      } finally {
        const isOver = text === 'commit' || text === 'rollback'
        if (pinned === undefined || isOver) held.release()
        if (isOver) pinned = undefined
      }
    }
    return Object.assign(events, { query, release: () => pinned?.release() }) as unknown as Client
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#backends.map(backend => backend.end()))
  }

  async #pin(): Promise<{ readonly backend: pg.Client; readonly release: () => void }> {
    const backend = this.#backends[this.#turn++ % this.#backends.length] as pg.Client
    const before = this.#busy.get(backend)
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#busy.set(
      backend,
      (before ?? Promise.resolve()).then(() => promise),
    )
    await before
    return { backend, release: resolve }
  }
}
