import { BuzzerError } from '../../message/index.ts'
import type { StoredRecord } from '../../store/index.ts'
import {
  deadLetterQueue,
  type Delivery,
  type OutgoingMessage,
  type PeekedMessage,
  type Settlement,
  type TransportAdmin,
} from '../../transport/index.ts'
import type { BusCore } from '../bus-core.ts'
import { unsupported } from '../emission.ts'
import { acknowledged, released } from '../pipeline/settle.ts'
import { fromDeadHeaders } from './dead-letter-headers.ts'
import { endOfLetter, type KeptLetter, keptLetter, keptLetters } from './kept-letters.ts'

/** What of a dead letter goes back to its queue. */
export type Redriven = Pick<PeekedMessage, 'id' | 'messageId' | 'attributes' | 'headers' | 'body' | 'priority'> & {
  readonly contentType?: string | undefined
  readonly key?: string | undefined
}

/** Where the dead letters of one queue lie. */
export interface DeadLetterSource {
  /** In the order in which they died. */
  peek(
    after: string | undefined,
    limit: number,
  ): Promise<{ readonly items: readonly PeekedMessage[]; readonly next?: string }>
  /** Moves them to the end of their queue, or of `to`: attempt 1, redrives + 1. */
  redrive(letters: readonly Redriven[], to: string | undefined): Promise<void>
  /** Puts `copy` on its queue in place of the letter. */
  replace(id: string, copy: OutgoingMessage): Promise<void>
  delete(ids: readonly string[]): Promise<number>
}

/** The broker's own dead letters; else those that the keeper moved into the store; else the queue `<queue>.dead` itself. */
export function deadLetterSource(core: BusCore, queue: string): DeadLetterSource {
  if (core.capabilities.deadLetter === 'native') return atBroker(core, queue)
  return core.store === undefined ? inDeadQueue(core, queue) : inStore(core, queue)
}

function adminOf(core: BusCore): TransportAdmin {
  if (core.transport.admin === undefined) throw unsupported(core, 'administration', "the broker's own tools")
  return core.transport.admin
}

function atBroker(core: BusCore, queue: string): DeadLetterSource {
  const need = <K extends 'peek' | 'redrive' | 'deleteDead'>(name: K): NonNullable<TransportAdmin[K]> => {
    const admin = adminOf(core)
    const call = admin[name]
    if (call === undefined) throw unsupported(core, `admin.${name}`, "the broker's own tools")
    return call.bind(admin) as NonNullable<TransportAdmin[K]>
  }
  return {
    peek: (after, limit) => need('peek')(queue, { state: 'dead', limit, ...(after === undefined ? {} : { after }) }),
    async redrive(letters, to) {
      const ids = letters.map(letter => letter.id)
      await need('redrive')(queue, { ids, ...(to === undefined ? {} : { to }) })
    },
    async replace(id, copy) {
      const remove = need('deleteDead')
      await core.sender.send(copy)
      await remove(queue, { ids: [id] })
    },
    delete: ids => need('deleteDead')(queue, { ids }),
  }
}

function inStore(core: BusCore, queue: string): DeadLetterSource {
  const storeOf = (): NonNullable<BusCore['store']> => core.store as NonNullable<BusCore['store']>
  const recordOf = async (id: string): Promise<StoredRecord<KeptLetter>> => {
    const record = await keptLetter(core, queue, id)
    if (record !== undefined) return record
    throw new BuzzerError('BUZZER_INVALID_OPTION', `queue ${queue} has no dead letter ${id} any more`, {
      details: { id },
    })
  }
  // The row of the outbox and the end of the record are one commit: the letter is in one place at any moment.
  const replace = async (id: string, copy: OutgoingMessage): Promise<void> => {
    const record = await recordOf(id)
    await core.storedSends?.add([copy], { tx: undefined, state: [endOfLetter(record, record.version)] })
  }
  return {
    peek: (after, limit) => keptLetters(core, queue, after, limit),
    async redrive(letters, to) {
      for (const letter of letters) await replace(letter.id, redrivenCopy(letter, to ?? queue))
    },
    replace,
    async delete(ids) {
      const records = await Promise.all(ids.map(id => keptLetter(core, queue, id)))
      const found = records.filter(record => record !== undefined)
      await storeOf().commit(found.map(record => endOfLetter(record, 'any')))
      return found.length
    },
  }
}

const plainLimit = 1_000

/** Neither dead letters at the broker nor a store: what lies in `<queue>.dead` can be listed and sent back. */
function inDeadQueue(core: BusCore, queue: string): DeadLetterSource {
  const dead = deadLetterQueue(queue)
  const take = async (ids: ReadonlySet<string>, use: (delivery: Delivery) => Promise<void>): Promise<void> => {
    const wanted = new Set(ids)
    const { promise: done, resolve: finish, reject } = Promise.withResolvers<void>()
    const giveBack: (() => void)[] = []
    const onDelivery = async (delivery: Delivery): Promise<Settlement> => {
      if (!wanted.delete(delivery.id)) {
        // Held until the end: released now it would come again at once.
        return new Promise(resolve => giveBack.push(() => resolve(released)))
      }
      try {
        await use(delivery)
        if (wanted.size === 0) finish()
        return acknowledged
      } catch (error) {
        reject(error)
        return released
      }
    }
    const receiver = await core.transport.receive(dead, onDelivery, { maxInFlight: plainLimit, orderBy: 'none' })
    const tooLate = core.clock.setTimeout(() => {
      reject(new BuzzerError('BUZZER_INVALID_OPTION', `${wanted.size} dead letters of ${queue} are not there any more`))
    }, 10_000)
    try {
      await done
    } finally {
      core.clock.clearTimeout(tooLate)
      for (const back of giveBack) back()
      await receiver.stop()
    }
  }
  const refused = (what: string): never => {
    throw unsupported(
      core,
      `dead letters of its own, and without a store there is no ${what}`,
      'the bus option `store`',
    )
  }
  return {
    async peek(after, limit) {
      const admin = adminOf(core)
      if (admin.peek === undefined) throw unsupported(core, 'admin.peek', 'the bus option `store`')
      const page = await admin.peek(dead, { state: 'ready', limit, ...(after === undefined ? {} : { after }) })
      // The message id is the only name that survives the way into a receiver.
      const items = page.items.map(one => ({ ...fromDeadHeaders(one), id: one.messageId }))
      return page.next === undefined ? { items } : { items, next: page.next }
    },
    async redrive(letters, to) {
      await take(new Set(letters.map(letter => letter.messageId)), async delivery => {
        const letter = letters.find(one => one.messageId === delivery.id)
        if (letter !== undefined) await core.sender.send(redrivenCopy(letter, to ?? queue))
      })
    },
    replace: id => take(new Set([id]), async () => refused('delayed or edited redrive')),
    delete: async () => refused('deleting of dead letters'),
  }
}

/** As it lay in the dead letters, on its way back. */
function redrivenCopy(letter: Redriven, to: string): OutgoingMessage {
  const redrives = Number(letter.attributes['redrives'] ?? 0) + 1
  return {
    id: letter.messageId,
    to: { queue: to },
    attributes: { ...letter.attributes, redrives: String(redrives) },
    headers: letter.headers,
    body: letter.body,
    priority: letter.priority,
    mandatory: true,
    ...(letter.contentType === undefined ? {} : { contentType: letter.contentType }),
    ...(letter.key === undefined ? {} : { key: letter.key }),
  }
}
