import { AbortedError, BuzzerError, hasCode } from 'buzzer'
import type { OutgoingMessage } from 'buzzer/transport'
import type { SqlHandle } from '../sql-handle.ts'
import type { RecordChange } from '../store/record-change.ts'
import { isRace } from '../store/record-writer.ts'
import { type Encoded, Manifest } from './manifest.ts'
import { checkMessage } from './message-check.ts'
import { encodeRecord } from './message-record.ts'
import { refusalOf } from './refusal.ts'
import { isWorthRepeating, type Session } from './session.ts'
import { numberArray } from './statements.ts'

export interface SendAnswer {
  readonly as: 'stored' | 'repeated' | 'stale'
  readonly now: number
  readonly awaited?: readonly number[] | null
  /** Queues whose chunks were leased to us as they were stored, by this lease; `ranks`: those of the chunks, in order. */
  readonly taken?: readonly number[] | null
  readonly lease?: number | null
  readonly ranks?: readonly number[] | null
}

/** Room that receivers of ours keep for what a step stores in queues that they look into in vain. */
export interface Reservation {
  readonly queues: readonly number[]
  /** Once the step has ended: they get what is theirs by the answer, and keep no more room. */
  end(answer: SendAnswer | undefined, askedAt: number): void
}

/** What the session does about messages that were stored. */
export interface PublisherEvents {
  /** Queues that got something, and those of them that receivers of other clients wait for. */
  onStored(queues: Iterable<number>, awaited: readonly number[]): void
  reserve(manifest: Manifest): Reservation | undefined
}

/** One `send` call. */
interface Parcel {
  readonly messages: readonly Encoded[]
  readonly state: readonly RecordChange[]
  readonly bytes: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
  isOver: boolean
}

const maxBatchBytes = 8 * 1024 * 1024
const maxBatchMessages = 10_000
/** Beyond it a send is refused at once: somebody sends without ever waiting for the answers. */
const maxPendingBytes = 256 * 1024 * 1024
/** How long sends outlive a lost connection when nobody gives up on them before. */
const patienceMs = 60_000
const maxTries = 10
/** How long a send in a caller's transaction waits for a connection of ours. */
const announceMs = 2_000

/**
 * Sends as group commits: while one transaction is under way calls collect, and the next takes them all, in the order of
 * the calls. Each call is all or nothing by itself; one that is refused does not take its neighbours with it.
 *
 * A step that may or may not have been done is sent again with its number, and the server does it once. Source: spec
 * transports 3.1, ADR 10.
 */
export class Publisher {
  readonly #session: Session
  readonly #events: PublisherEvents
  #waiting: Parcel[] = []
  #pendingBytes = 0
  #running: Promise<void> | undefined

  constructor(session: Session, events: PublisherEvents) {
    this.#session = session
    this.#events = events
  }

  /** Checks and encodes now; what the caller changes afterwards does not travel. @throws as `checkMessage` */
  encode(messages: readonly OutgoingMessage[]): readonly Encoded[] {
    const { maxMessageBytes } = this.#session.options
    for (const message of messages) checkMessage(message, maxMessageBytes)
    return messages.map(message => ({ message, record: encodeRecord(message) }))
  }

  send(messages: readonly Encoded[], state: readonly RecordChange[], signal: AbortSignal | undefined): Promise<void> {
    if (messages.length === 0 && state.length === 0) return Promise.resolve()
    let bytes = 0
    for (const { record } of messages) bytes += record.byteLength
    if (this.#pendingBytes > 0 && this.#pendingBytes + bytes > maxPendingBytes) {
      return Promise.reject(
        new BuzzerError(
          'BUZZER_SEND_FAILED',
          `${this.#pendingBytes} bytes wait to be stored already; await your sends`,
          {
            details: { outcome: 'not-stored', limit: maxPendingBytes },
          },
        ),
      )
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const parcel: Parcel = { messages, state, bytes, resolve, reject, isOver: false }
    this.#pendingBytes += bytes
    this.#waiting.push(parcel)
    if (signal !== undefined) this.#watch(parcel, promise, signal)
    this.#running ??= this.#run()
    return promise
  }

  /** Through a transaction of the caller's: one statement, no group, and the caller's commit decides. */
  async sendIn(tx: SqlHandle, messages: readonly Encoded[], state: readonly RecordChange[]): Promise<void> {
    const session = this.#session
    let view = await session.topology()
    let isWritten = state.length === 0
    for (let tries = 0; tries < maxTries; tries++) {
      let manifest: Manifest
      try {
        manifest = this.#plan(messages, view)
      } catch (error) {
        if (tries > 0) throw error
        view = await session.readTopology()
        continue
      }
      if (!isWritten) await session.records.applyAll(tx, state)
      isWritten = true
      if (messages.length === 0) return
      await this.#announce(tx, manifest)
      const answer = await this.#ask(tx, manifest, null).catch((error: unknown) => {
        throw refusalOf(error, session.options.prefix) ?? error
      })
      if (answer.as !== 'stale') return
      // A transaction with a snapshot of its own may never see the newest topology: it is read as it sees it.
      view = tries < 2 ? await session.readTopology() : await session.topologyThrough(tx)
    }
    throw new BuzzerError('BUZZER_SEND_FAILED', 'the topology changes faster than it can be read', {
      details: { outcome: 'not-stored' },
    })
  }

  /** Rows of queues that a send changes are changed outside: inside, they would be locked until the caller commits. */
  async #announce(tx: SqlHandle, manifest: Manifest): Promise<void> {
    const { limited, idle, masks } = manifest
    if (limited === null && idle === null && masks === null) return
    const { database, sql } = this.#session
    const values = [manifest.itemsText, limited, idle, masks]
    try {
      await database.run(connection => connection.query(sql.announce, values), { patienceMs: announceMs })
    } catch (error) {
      if (!hasCode(error, 'BUZZER_DISCONNECTED')) throw error
      // No connection but the caller's, as with a pool of one.
      await tx.query(sql.announce, values)
    }
  }

  /** Resolves when all that was sent before is answered. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running
  }

  /** Rejects what waits, as not known to be stored. */
  abandon(error: BuzzerError): void {
    for (const parcel of this.#waiting.splice(0)) this.#end(parcel, error)
  }

  #watch(parcel: Parcel, promise: Promise<void>, signal: AbortSignal): void {
    const onAbort = (): void => {
      const at = this.#waiting.indexOf(parcel)
      if (at >= 0) this.#waiting.splice(at, 1)
      this.#end(parcel, new AbortedError(signal, 'the send', { outcome: at >= 0 ? 'not-stored' : 'unknown' }))
    }
    signal.addEventListener('abort', onAbort, { once: true })
    const forget = (): void => signal.removeEventListener('abort', onAbort)
    promise.then(forget, forget)
  }

  #end(parcel: Parcel, error?: unknown): void {
    if (parcel.isOver) return
    parcel.isOver = true
    this.#pendingBytes -= parcel.bytes
    if (error === undefined) parcel.resolve()
    else parcel.reject(error)
  }

  async #run(): Promise<void> {
    // What is sent in the same turn of the event loop goes together.
    await new Promise<void>(resolve => setImmediate(resolve))
    while (this.#waiting.length > 0) {
      const batch = this.#take()
      try {
        await this.#store(batch)
      } catch (error) {
        for (const parcel of batch) this.#end(parcel, error)
      }
    }
    this.#running = undefined
  }

  #take(): readonly Parcel[] {
    let bytes = 0
    let messages = 0
    let count = 0
    for (const parcel of this.#waiting) {
      if (count > 0 && (bytes + parcel.bytes > maxBatchBytes || messages + parcel.messages.length > maxBatchMessages))
        break
      bytes += parcel.bytes
      messages += parcel.messages.length
      count++
    }
    return this.#waiting.splice(0, count)
  }

  /** Stores a batch, each parcel once; answers them. Rejects when nothing is known of those not answered. */
  async #store(batch: readonly Parcel[]): Promise<void> {
    const session = this.#session
    const step = session.nextStep()
    const giveUpAt = session.clock.monotonic() + patienceMs
    let parcels = batch
    let view = await session.topology()
    for (let tries = 0; ; tries++) {
      const { manifest, refused } = this.#planAll(parcels, view)
      if (refused.size > 0 && view === (await session.topology()) && tries === 0) {
        // What is unknown here may have been declared elsewhere a moment ago.
        view = await session.readTopology()
        continue
      }
      for (const [parcel, error] of refused) this.#end(parcel, error)
      parcels = parcels.filter(parcel => !refused.has(parcel))
      if (parcels.length === 0) return
      try {
        const state = parcels.map(parcel => parcel.state)
        const answer = await this.#commit(manifest, state, step, tries > 0)
        if (answer.as === 'stale') {
          view = await session.readTopology()
          continue
        }
        for (const [at, parcel] of parcels.entries()) {
          const refusal = answer.refusals?.[at]
          this.#end(parcel, refusal)
        }
        manifest.stored()
        const taken = new Set(answer.taken)
        this.#events.onStored(
          [...manifest.queues].filter(queue => !taken.has(queue)),
          answer.awaited ?? [],
        )
        return
      } catch (error) {
        const refusal = refusalOf(error, session.options.prefix)
        if (refusal !== undefined || (parcels.length > 1 && isOfOneParcel(error))) {
          await this.#storeEach(parcels, refusal)
          return
        }
        if (!isWorthRepeating(error) && !isRace(error)) throw error
        if (session.isClosed || session.clock.monotonic() > giveUpAt) throw error
        if (parcels.every(parcel => parcel.isOver)) return
      }
    }
  }

  /** One after the other, so that the refusal of one is its own. */
  async #storeEach(parcels: readonly Parcel[], refusal: BuzzerError | undefined): Promise<void> {
    if (parcels.length === 1) {
      this.#end(parcels[0] as Parcel, refusal)
      return
    }
    for (const parcel of parcels) {
      await this.#store([parcel]).catch((error: unknown) => this.#end(parcel, error))
    }
  }

  #planAll(
    parcels: readonly Parcel[],
    view: Manifest['topology'],
  ): { readonly manifest: Manifest; readonly refused: ReadonlyMap<Parcel, BuzzerError> } {
    const { time, options } = this.#session
    const manifest = new Manifest(view, time, options.chunkLimits)
    const refused = new Map<Parcel, BuzzerError>()
    for (const parcel of parcels) {
      try {
        for (const { message } of parcel.messages) manifest.targets(message)
        for (const encoded of parcel.messages) manifest.add(encoded)
      } catch (error) {
        refused.set(parcel, error as BuzzerError)
      }
    }
    return { manifest, refused }
  }

  #plan(messages: readonly Encoded[], view: Manifest['topology']): Manifest {
    const { time, options } = this.#session
    const manifest = new Manifest(view, time, options.chunkLimits)
    for (const encoded of messages) manifest.add(encoded)
    return manifest
  }

  async #commit(
    manifest: Manifest,
    state: readonly (readonly RecordChange[])[],
    step: number,
    isRepeated: boolean,
  ): Promise<SendAnswer & { readonly refusals?: readonly (BuzzerError | undefined)[] }> {
    const session = this.#session
    if (state.every(changes => changes.length === 0)) {
      const reservation = this.#events.reserve(manifest)
      let answer: SendAnswer | undefined
      let askedAt = 0
      try {
        answer = await session.database.run(connection => {
          askedAt = session.clock.monotonic()
          return this.#ask(connection, manifest, step, reservation?.queues)
        })
        return answer
      } finally {
        reservation?.end(answer, askedAt)
      }
    }
    const answer = await session.database
      .transaction(async handle => {
        if (isRepeated && (await session.hasReceipt(handle, step))) return { as: 'repeated', now: 0 } as const
        const refusals = await session.records.apply(handle, state)
        // With the messages already planned as one, the refusal of one is cheaper tried apart.
        const refusal = refusals.find(one => one !== undefined)
        // The first try may have been at its COMMIT when we looked: then it is the one that our records conflict with, and
        // by now, its locks being gone, it is done.
        if (refusal !== undefined && isRepeated && (await session.hasReceipt(handle, step))) throw new Done()
        if (refusal !== undefined) throw new PartRefused(refusal)
        const given = await this.#ask(handle, manifest, step)
        // As above, where nothing was expected: what we have just written would be written twice.
        if (given.as === 'repeated') throw new Done()
        // What was written of the records must go with it.
        if (given.as === 'stale') throw new Stale()
        return given
      })
      .catch((error: unknown) => {
        if (error instanceof Stale) return { as: 'stale', now: 0 } as const
        if (error instanceof Done) return { as: 'repeated', now: 0 } as const
        if (error instanceof PartRefused && state.length === 1)
          return { as: 'refused', refusal: error.refusal } as const
        throw error
      })
    if (answer.as === 'refused') return { as: 'stored', now: 0, refusals: [answer.refusal] }
    if (answer.as !== 'stale') session.committed(state.flat())
    return answer
  }

  async #ask(
    handle: SqlHandle,
    manifest: Manifest,
    step: number | null,
    hungry: readonly number[] = [],
  ): Promise<SendAnswer> {
    const { client, sql, time, options } = this.#session
    const sentAt = time.now()
    const queues = `{${[...manifest.queues].join(',')}}`
    const { rows } = await handle.query(sql.send, [
      step === null ? null : client,
      step,
      manifest.topology.version,
      manifest.itemsText,
      manifest.data,
      manifest.limited,
      manifest.hashed,
      manifest.idle,
      queues,
      manifest.masks,
      numberArray(hungry),
      options.leaseMs,
    ])
    const answer = JSON.parse((rows[0] as { answer: string }).answer) as SendAnswer
    time.observe(answer.now, sentAt)
    return answer
  }
}

/** The plan was made by an older topology, so the transaction was rolled back. */
class Stale extends Error {}

/** An earlier try of this step was committed after all; this one was rolled back. */
class Done extends Error {}

/** A part of a batch is refused, so the transaction of all was rolled back. */
class PartRefused extends Error {
  readonly refusal: BuzzerError

  constructor(refusal: BuzzerError) {
    super(refusal.message)
    this.refusal = refusal
  }
}

function isOfOneParcel(error: unknown): boolean {
  if (error instanceof PartRefused) return true
  const state = (error as { details?: { sqlState?: unknown } }).details?.sqlState
  return typeof state === 'string' && (state.startsWith('22') || state.startsWith('54') || state.startsWith('53200'))
}
