import { MemoryRecords, storeOver, type Store } from '../../store/index.ts'
import type { StoreConformanceOptions } from '../store-conformance.ts'
import { memory, memoryBroker } from '../../transport/transports/memory.ts'

/** A store that breaks one promise, and the cases that must notice. */
export interface StoreSaboteur {
  readonly name: string
  /** How the names of the cases begin that must fail. */
  readonly caughtBy: readonly string[]
  options(): StoreConformanceOptions
}

type Break = (honest: Store, memory: Map<string, unknown>) => Partial<Store>

function saboteur(name: string, caughtBy: readonly string[], breakIt: Break): StoreSaboteur {
  return {
    name,
    caughtBy,
    options() {
      const broker = memoryBroker()
      const memories = new Map<string, unknown>()
      return {
        name,
        create() {
          const honest = memory({ broker }).store as Store
          return { ...honest, ...breakIt(honest, memories) }
        },
        transaction: work => broker.transaction(tx => work(tx)),
        restart: () => Promise.resolve(),
      }
    },
  }
}

/** Stores that break one promise each: the proof that every case of `storeConformance` can fail. */
export const storeSaboteurs: readonly StoreSaboteur[] = [
  saboteur('knows ASCII only', ['what was put comes out'], honest => ({
    commit: (changes, options) =>
      honest.commit(
        changes.map(change =>
          change.op === 'put'
            ? {
                ...change,
                value: JSON.parse(Buffer.from(JSON.stringify(change.value), 'ascii').toString('ascii')) as never,
              }
            : change,
        ),
        options,
      ),
  })),
  saboteur('hands out what it holds', ['nobody shares an object'], (honest, held) => ({
    async commit(changes, options) {
      await honest.commit(changes, options)
      for (const change of changes) if (change.op === 'put') held.set(change.id, change.value)
    },
    async get(collection, id) {
      const record = await honest.get(collection, id)
      return record && ({ ...record, value: held.get(id) } as never)
    },
  })),
  saboteur('counts versions from 0', ['versions start at 1'], honest => ({
    async get(collection, id) {
      const record = await honest.get(collection, id)
      return record && ({ ...record, version: record.version - 1 } as never)
    },
  })),
  saboteur(
    'expects nothing',
    ['a failed expectation', 'a commit is all or nothing', 'of concurrent commits', 'later changes of a commit'],
    honest => ({
      commit: (changes, options) =>
        honest.commit(
          changes.map(change => ({ ...change, expected: 'any' as const })),
          options,
        ),
    }),
  ),
  saboteur('deletes only what is there', ["expected 'any'"], honest => ({
    async commit(changes, options) {
      for (const change of changes) {
        if (change.op === 'delete' && (await honest.get(change.collection, change.id)) === undefined)
          throw new Error('gone')
      }
      return honest.commit(changes, options)
    },
  })),
  saboteur(
    'commits change by change',
    ['a commit is all or nothing', 'later changes of a commit', 'a value above'],
    honest => ({
      async commit(changes, options) {
        for (const change of changes) await honest.commit([change], options)
      },
    }),
  ),
  saboteur('never forgets', ['a record whose expiresAt'], honest => ({
    commit: (changes, options) =>
      honest.commit(
        changes.map(change => {
          if (change.op === 'delete') return change
          const { expiresAt: _, ...rest } = change
          return rest
        }),
        options,
      ),
  })),
  saboteur('ignores the signal', ['a commit whose signal'], honest => ({ commit: changes => honest.commit(changes) })),
  saboteur('never closes', ['a closed store rejects'], () => ({ close: () => Promise.resolve() })),
  saboteur('claims to be durable and forgets', ['records outlive a restart'], honest => {
    const forgetful = storeOver(new MemoryRecords(1_000), {})
    return { ...forgetful, capabilities: { ...honest.capabilities, durability: 'durable' } }
  }),
  saboteur("commits past the caller's transaction", ["a caller's transaction"], honest => ({
    commit: changes => honest.commit(changes),
  })),
  saboteur('watches nothing', ['watch calls'], () => ({
    watch: () => Promise.resolve({ [Symbol.asyncDispose]: () => Promise.resolve() }),
  })),
  saboteur('answers in order of ids', ['a query answers in the order', 'pages follow each other'], honest => ({
    async query(collection, where, page) {
      const { items } = await honest.query(collection, where, page)
      return { items: items.toSorted((a, b) => (a.id < b.id ? -1 : 1)) as never }
    },
  })),
  saboteur('takes to as included', ['equals finds exactly'], honest => ({
    query: (collection, where, page) =>
      honest.query(collection, typeof where.to === 'number' ? { ...where, to: where.to + 0.5 } : where, page),
  })),
  saboteur('gives pages by number', ['pages follow each other'], honest => ({
    async query(collection, where, page = {}) {
      const { items } = await honest.query(collection, where, { limit: 1_000 })
      const start = Number(page.after ?? 0)
      const end = start + (page.limit ?? 50)
      return { items: items.slice(start, end) as never, ...(end < items.length ? { next: String(end) } : {}) }
    },
  })),
  saboteur('gives all at once', ['a page has 50 records'], honest => ({
    query: (collection, where, page) => honest.query(collection, where, { limit: 1_000, ...page }),
  })),
  saboteur('leaves records in their old place', ['an index follows its record'], (honest, first) => ({
    commit: (changes, options) =>
      honest.commit(
        changes.map(change => {
          if (change.op === 'delete') return change
          const indexes = (first.get(change.id) ?? change.indexes) as typeof change.indexes
          first.set(change.id, indexes)
          return indexes === undefined ? change : { ...change, indexes }
        }),
        options,
      ),
  })),
  saboteur('declares once', ['declare is idempotent'], (honest, known) => ({
    declare(collections) {
      const fresh = collections.filter(({ name }) => !known.has(name))
      for (const { name } of collections) known.set(name, true)
      return honest.declare(fresh)
    },
  })),
  saboteur('searches without an index', ['a query by an index nobody declared'], honest => ({
    async query(collection, where, page) {
      try {
        return await honest.query(collection, where, page)
      } catch {
        return { items: [] }
      }
    },
  })),
  saboteur('takes nothing for unique', ['a value stands once'], honest => ({
    declare: collections => honest.declare(collections.map(({ name, indexes }) => ({ name, indexes }))),
  })),
  saboteur('knows no size', ['a value above'], honest => {
    const vast = storeOver(new MemoryRecords(Number.MAX_SAFE_INTEGER), {})
    return { ...vast, capabilities: honest.capabilities }
  }),
  saboteur('leases nothing', ['claim leases what is due', 'of owners that claim', 'a lease that runs out'], honest => ({
    claim: (collection, due) => honest.claim(collection, { ...due, owner: 'everybody' }),
  })),
  saboteur('leases for ever', ['a lease that runs out'], honest => ({
    claim: (collection, due) => honest.claim(collection, { ...due, leaseMs: 1e9 }),
  })),
  saboteur('ignores the limit of a claim', ['claim leases what is due'], honest => ({
    claim: (collection, due) => honest.claim(collection, { ...due, limit: 1_000 }),
  })),
]
