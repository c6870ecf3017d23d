import type { JsonValue } from '../../message/index.ts'
import type { Page, PageRequest } from '../../store/index.ts'
import type { BusCore } from '../bus-core.ts'
import { unsupported } from '../emission.ts'

/** Who did what to dead letters, and when. */
export interface AuditEntry {
  readonly at: Date
  readonly action: 'redrive' | 'edit' | 'delete'
  readonly by?: string
  readonly ids: readonly string[]
  readonly to?: string
}

const collection = 'buzzer.audit'
/** Keeps the order of entries of one millisecond. */
let written = 0

const declared = new WeakSet<object>()

async function declare(core: BusCore): Promise<void> {
  if (core.store === undefined || declared.has(core.store)) return
  await core.store.declare([{ name: collection, indexes: ['queue'] }])
  declared.add(core.store)
}

/** Records a change; without a store it is at least logged. */
export async function writeAudit(core: BusCore, queue: string, entry: Omit<AuditEntry, 'at'>): Promise<void> {
  const { store } = core
  if (store === undefined) {
    core.logger.info(
      { queue, ...entry },
      'dead letters were changed (without a store this line is all the audit there is)',
    )
    return
  }
  await declare(core)
  const at = core.clock.now()
  await store.commit([
    {
      op: 'put',
      collection,
      id: `${String(at).padStart(16, '0')}-${String(written++).padStart(9, '0')}-${core.newId()}`,
      value: { ...entry, at } as unknown as JsonValue,
      expected: 'absent',
      indexes: { queue },
    },
  ])
}

/** The entries of one queue, newest first. */
export async function audited(core: BusCore, queue: string, page?: PageRequest): Promise<Page<AuditEntry>> {
  if (core.store === undefined) throw unsupported(core, 'audit without a store', 'the bus option `store`')
  await declare(core)
  // Ids begin with the time, so equal index values come in order of time.
  const found = await core.store.query<Omit<AuditEntry, 'at'> & { at: number }>(
    collection,
    { index: 'queue', equals: queue, order: 'desc' },
    page,
  )
  const items = found.items.map(({ value }) => ({ ...value, at: new Date(value.at) }))
  return found.next === undefined ? { items } : { items, next: found.next }
}
