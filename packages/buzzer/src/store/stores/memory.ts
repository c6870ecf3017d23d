import { AbortedError, BuzzerError, systemClock } from '../../message/index.ts'
import type { StateChange } from '../state-change.ts'
import type { Store, StoreContext } from '../store.ts'
import { MemoryRecords } from './memory/records.ts'

export { MemoryRecords } from './memory/records.ts'

export interface MemoryStoreOptions {
  /** Largest value, as JSON. Default 1 MiB. */
  maxValueBytes?: number
}

/**
 * Records in memory: for tests, and for state whose loss does not matter. They live as long as the store object; `close`
 * and a second `connect` keep them. Every call runs in one turn of the event loop, so commits are atomic and in call order.
 * Takes no caller's transaction of its own: the store of the `memory()` transport does.
 */
export function memoryStore(options: MemoryStoreOptions = {}): Store {
  return storeOver(new MemoryRecords(options.maxValueBytes ?? 1024 * 1024), {})
}

/** What a broker that shares its records with a store adds to it. */
export interface MemoryStoreSeam<Tx> {
  /** Wall clock. Default: that of the context. */
  readonly now?: () => number
  /** Takes changes into the caller's transaction. Default: refused with `BUZZER_UNSUPPORTED`. */
  readonly enlist?: (tx: Tx, changes: readonly StateChange[]) => void
}

/** A store over given records; what the memory transport builds its own store with. */
export function storeOver<Tx = never>(records: MemoryRecords, seam: MemoryStoreSeam<Tx>): Store<Tx> {
  let context: StoreContext | undefined
  let isClosed = false
  const now = seam.now ?? ((): number => (context?.clock ?? systemClock).now())
  const running = (): void => {
    if (isClosed) throw new BuzzerError('BUZZER_NOT_RUNNING', 'the memory store is closed')
  }
  return {
    name: 'memory',
    capabilities: {
      callerTransactions: seam.enlist === undefined ? 'none' : 'native',
      maxValueBytes: records.maxValueBytes,
      durability: 'volatile',
    },
    connect(given) {
      context = given
      isClosed = false
      return Promise.resolve()
    },
    close() {
      isClosed = true
      return Promise.resolve()
    },
    async declare(collections) {
      running()
      records.declare(collections)
    },
    async get(collection, id, options) {
      running()
      heed(options?.signal, 'the read')
      return records.get(collection, id, now())
    },
    async commit(changes, options) {
      running()
      heed(options?.signal, 'the commit')
      if (options?.tx !== undefined) {
        if (seam.enlist === undefined) {
          throw new BuzzerError(
            'BUZZER_UNSUPPORTED',
            "memoryStore() takes no caller's transaction; use the store of memory(), which takes those of its broker",
            { details: { feature: 'tx' } },
          )
        }
        seam.enlist(options.tx, changes)
        return
      }
      const at = now()
      records.check(changes, at)
      records.apply(changes, at)
    },
    async query(collection, where, page = {}) {
      running()
      return records.query(collection, where, page, now())
    },
    async claim(collection, due) {
      running()
      return records.claim(collection, due, now())
    },
    async watch(collection, id, onChange) {
      running()
      const end = records.watch(collection, id, onChange)
      return {
        [Symbol.asyncDispose]() {
          end()
          return Promise.resolve()
        },
      }
    },
  }
}

function heed(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted === true) throw new AbortedError(signal, what, { outcome: 'not-stored' })
}
