import type { JsonValue } from '../../message/index.ts'
import type { StateChange, StoredRecord } from '../../store/index.ts'
import type { PeekedMessage } from '../../transport/index.ts'
import type { BusCore } from '../bus-core.ts'

/** A dead letter in the store; the body is base64. */
export type KeptLetter = Omit<PeekedMessage, 'body'> & { readonly body: string; readonly queue: string }

const collection = 'buzzer.dead-letters'

export async function declareKeptLetters(core: BusCore): Promise<void> {
  await core.store?.declare([{ name: collection, indexes: ['queue', 'letter'] }])
}

/** Twice under one id is once. */
export async function putKeptLetter(core: BusCore, letter: KeptLetter): Promise<void> {
  const { queue } = letter
  await core.store?.commit([
    {
      op: 'put',
      collection,
      id: recordId(queue, letter.id),
      value: letter as unknown as JsonValue,
      expected: 'any',
      indexes: { queue },
    },
  ])
}

function recordId(queue: string, id: string): string {
  return `${queue}\u0001${id}`
}

function toPeeked(letter: KeptLetter): PeekedMessage {
  return { ...letter, body: Buffer.from(letter.body, 'base64') }
}

/** In order of death: ids begin with the time, and an index orders equal values by id. */
export async function keptLetters(
  core: BusCore,
  queue: string,
  after: string | undefined,
  limit: number,
): Promise<{ readonly items: readonly PeekedMessage[]; readonly next?: string }> {
  const page = await core.store?.query<KeptLetter>(
    collection,
    { index: 'queue', equals: queue },
    { limit, ...(after === undefined ? {} : { after }) },
  )
  const items = (page?.items ?? []).map(record => toPeeked(record.value))
  return page?.next === undefined ? { items } : { items, next: page.next }
}

export async function keptLetter(
  core: BusCore,
  queue: string,
  id: string,
): Promise<StoredRecord<KeptLetter> | undefined> {
  return core.store?.get<KeptLetter>(collection, recordId(queue, id))
}

/** The end of a kept letter. */
export function endOfLetter(record: StoredRecord<KeptLetter>, expected: number | 'any'): StateChange {
  return { op: 'delete', collection, id: record.id, expected }
}
