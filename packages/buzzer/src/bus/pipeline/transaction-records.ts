import type { JsonValue } from '../../message/index.ts'
import type { StateChange, StoredRecord } from '../../store/index.ts'
import type { BusCore } from '../bus-core.ts'
import type { ContextRecords } from '../context.ts'
import { unsupported } from '../emission.ts'

/** `ctx.tx`: records of the application that commit with the acknowledgement, and with it alone. */
export class TransactionRecords implements ContextRecords {
  readonly #core: BusCore
  readonly #refuseClosed: () => void
  readonly #changes = new Map<string, StateChange>()
  /** Versions seen by `get`: what a later `put` expects. */
  readonly #read = new Map<string, number | 'absent'>()

  constructor(core: BusCore, refuseClosed: () => void) {
    if (core.store === undefined) throw unsupported(core, 'store, which ctx.tx needs', 'the bus option `store`')
    this.#core = core
    this.#refuseClosed = refuseClosed
  }

  get changes(): readonly StateChange[] {
    return [...this.#changes.values()]
  }

  async get<T = JsonValue>(collection: string, id: string): Promise<StoredRecord<T> | undefined> {
    this.#refuseClosed()
    const record = await this.#core.store?.get<T>(collection, id)
    this.#read.set(place(collection, id), record?.version ?? 'absent')
    return record
  }

  put(collection: string, id: string, value: JsonValue, expected?: number | 'absent' | 'any'): void {
    this.#refuseClosed()
    const at = place(collection, id)
    // A copy: what the handler does to its object afterwards is not part of the step.
    const copy = JSON.parse(JSON.stringify(value)) as JsonValue
    const before = this.#changes.get(at)?.expected
    this.#changes.set(at, {
      op: 'put',
      collection,
      id,
      value: copy,
      expected: expected ?? before ?? this.#read.get(at) ?? 'any',
    })
  }

  delete(collection: string, id: string, expected?: number | 'any'): void {
    this.#refuseClosed()
    const at = place(collection, id)
    const read = this.#read.get(at)
    const before = this.#changes.get(at)?.expected
    const known = expected ?? before ?? read ?? 'any'
    this.#changes.set(at, { op: 'delete', collection, id, expected: known === 'absent' ? 'any' : known })
  }
}

function place(collection: string, id: string): string {
  return `${collection}\u0000${id}`
}
