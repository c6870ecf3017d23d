import type { MessageHeaders } from '../../message/index.ts'
import type { BusCore } from '../bus-core.ts'
import { unsupported } from '../emission.ts'

/** The edited form of a dead letter, kept beside the original. */
export interface Edit {
  readonly body: Uint8Array
  readonly headers: MessageHeaders
  readonly at: Date
  readonly by?: string
}

interface StoredEdit {
  readonly body: string
  readonly headers: MessageHeaders
  readonly at: number
  readonly by?: string
}

const collection = 'buzzer.edits'

function recordId(queue: string, id: string): string {
  return `${queue}\u0001${id}`
}

const declared = new WeakSet<object>()

async function declare(core: BusCore): Promise<void> {
  if (core.store === undefined || declared.has(core.store)) return
  await core.store.declare([{ name: collection, indexes: ['queue'] }])
  declared.add(core.store)
}

/** All edits of a queue's dead letters, by the letter's id. People make them, so they are few. */
export async function editsOf(core: BusCore, queue: string): Promise<ReadonlyMap<string, Edit>> {
  const edits = new Map<string, Edit>()
  if (core.store === undefined) return edits
  await declare(core)
  let after: string | undefined
  do {
    const page = await core.store.query<StoredEdit>(
      collection,
      { index: 'queue', equals: queue },
      { limit: 1_000, ...(after === undefined ? {} : { after }) },
    )
    for (const record of page.items) {
      const { body, headers, at, by } = record.value
      const id = record.id.slice(queue.length + 1)
      edits.set(id, {
        body: Buffer.from(body, 'base64'),
        headers,
        at: new Date(at),
        ...(by === undefined ? {} : { by }),
      })
    }
    after = page.next
  } while (after !== undefined)
  return edits
}

export async function writeEdit(core: BusCore, queue: string, id: string, edit: Edit): Promise<void> {
  if (core.store === undefined) throw unsupported(core, 'edits without a store', 'the bus option `store`')
  await declare(core)
  const { body, headers, at, by } = edit
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('base64')
  await core.store.commit([
    {
      op: 'put',
      collection,
      id: recordId(queue, id),
      value: { body: text, headers, at: at.getTime(), ...(by === undefined ? {} : { by }) },
      expected: 'any',
      indexes: { queue },
    },
  ])
}

export async function forgetEdit(core: BusCore, queue: string, id: string): Promise<void> {
  await core.store?.commit([{ op: 'delete', collection, id: recordId(queue, id), expected: 'any' }])
}
