import { type JsonValue, newId, silentLogger, systemClock } from '../../message/index.ts'
import type { Scalar, Store, StoredRecord } from '../../store/index.ts'
import { rejection, settles, until } from './waiting.ts'

export interface StoreConformanceOptions {
  readonly name: string
  /** A new, unconnected store. All made by it reach one and the same set of records. */
  create(): Store | Promise<Store>
  /** Stops what holds the records as hard as possible and starts it again; for stores that claim to be durable. */
  restart?(): Promise<void>
  /** With `callerTransactions: 'native'`: runs `work` in a transaction of the caller. */
  readonly transaction?: <T>(work: (tx: unknown) => Promise<T>) => Promise<T>
  /** Cases this store cannot serve, with the reason that is reported. */
  readonly exceptions?: Readonly<Record<string, string>>
  /** How long a case waits for what must happen. Default 10,000. */
  readonly patienceMs?: number
}

/** A case of the store suite. `needs` answers the reason why it does not apply. */
export interface StoreCase {
  readonly name: string
  readonly source: string
  readonly needs?: (world: StoreWorld) => string | undefined
  readonly run: (world: StoreWorld) => Promise<void>
}

/** What a case may do: one store, and collections nobody else uses. */
export class StoreWorld {
  readonly options: StoreConformanceOptions
  readonly patienceMs: number
  store!: Store
  readonly #stores: Store[] = []
  readonly #prefix: string = `c-${newId().slice(-12)}`
  #names = 0

  constructor(options: StoreConformanceOptions) {
    this.options = options
    this.patienceMs = options.patienceMs ?? 10_000
  }

  async open(): Promise<void> {
    this.store = await this.another()
  }

  /** Another store on the same records, connected. */
  async another(): Promise<Store> {
    const store = await this.options.create()
    this.#stores.push(store)
    const context = { bus: 'conformance', instanceId: newId().slice(-12), clock: systemClock, logger: silentLogger }
    await settles(store.connect(context), 'connect', this.patienceMs)
    return store
  }

  async close(): Promise<void> {
    await settles(Promise.all(this.#stores.map(store => store.close())), 'close', this.patienceMs)
  }

  async restart(): Promise<void> {
    await this.close()
    this.#stores.length = 0
    await this.options.restart?.()
    await this.open()
  }

  name(): string {
    return `${this.#prefix}-${++this.#names}`
  }

  /** A fresh collection with these indexes. */
  async collection(indexes: readonly string[] = ['at'], unique: readonly string[] = []): Promise<string> {
    const name = this.name()
    await this.store.declare([{ name, indexes, unique }])
    return name
  }

  async put(
    collection: string,
    id: string,
    value: JsonValue = { id },
    indexes?: Readonly<Record<string, Scalar>>,
    more: { expected?: number | 'absent' | 'any'; expiresAt?: number } = {},
  ): Promise<void> {
    const change = { op: 'put' as const, collection, id, value, expected: 'any' as const, ...more }
    await this.store.commit([indexes === undefined ? change : { ...change, indexes }])
  }

  get(collection: string, id: string): Promise<StoredRecord | undefined> {
    return this.store.get(collection, id)
  }

  async version(collection: string, id: string): Promise<number | undefined> {
    return (await this.get(collection, id))?.version
  }

  rejects(promise: Promise<unknown>, code: string, what: string): ReturnType<typeof rejection> {
    return rejection(promise, code, what, this.patienceMs)
  }

  settles<T>(promise: Promise<T>, what: string): Promise<T> {
    return settles(promise, what, this.patienceMs)
  }

  until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
    return until(holds, what, this.patienceMs)
  }
}
