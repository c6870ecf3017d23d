import { BuzzerError, type Logger } from '../../message/index.ts'
import type { Delivery } from '../../transport/index.ts'
import {
  type ByteWriter,
  fromWireError,
  type KeptDelivery,
  type SettlementHead,
  type Welcome,
  type WireError,
  writeAcks,
  writeSettle,
} from '../protocol/index.ts'
import { Fifo } from './fifo.ts'
import type { EmbeddedSettlement, Lock } from './held-delivery.ts'
import { LockTable } from './lock-table.ts'
import { arrayTooLarge } from './pending-sends.ts'

export type { EmbeddedSettlement } from './held-delivery.ts'

/** See `OnDelivery` of the contract. */
export type EmbeddedOnDelivery = (delivery: Delivery) => Promise<EmbeddedSettlement>

interface PendingSettlement {
  readonly lock: Lock
  readonly settlement: EmbeddedSettlement
}

export interface OpenLocksOptions {
  readonly writer: ByteWriter
  readonly maxMessageBytes: number
  /** Of one settlement with all that it sends. */
  readonly maxStepBytes: number
  readonly logger: Logger
  /** Numbers that settlements share with requests. */
  readonly newId: () => number
  readonly onWritten: () => void
  /** Sends what is written, the acks too. */
  readonly flush: () => void
}

/** Acks that wait for a flush; from here on they leave at once, so that the engine and the handlers work side by side. */
const ackBatch = 256

/**
 * The locks that a session holds, and its settlements that the engine has not confirmed. A plain `ack` travels as one
 * number among many; all else is a settlement with an answer of its own. What is unconfirmed when the connection goes is
 * named in the next hello and settled again under the token that the welcome gives. Source: spec broker 4, 7.
 */
export class OpenLocks {
  readonly #options: OpenLocksOptions
  readonly #locks = new LockTable()
  readonly #settling = new Map<number, PendingSettlement>()
  /** How many of them belong to a group. */
  #grouped = 0
  /** Acked, in order, not confirmed. */
  readonly #acked = new Fifo<Lock>()
  /** How many of this connection's acks were confirmed. */
  #confirmed = 0
  /** Tokens of acks that are not in the writer yet. */
  readonly #unwritten = new Float64Array(ackBatch)
  #unwrittenCount = 0

  constructor(options: OpenLocksOptions) {
    this.#options = options
  }

  get count(): number {
    return this.#locks.size
  }

  /** Settlements whose answer will come by itself: one of a group waits for the others. */
  get settling(): number {
    return this.#acked.length + this.#settling.size - this.#grouped
  }

  add(lock: Lock): void {
    this.#locks.add(lock)
  }

  /** Ends a lock by what its handler answered. A lock that was lost meanwhile is reported, nothing is sent. */
  settle(lock: Lock, settlement: EmbeddedSettlement): void {
    if (lock.stage === 'over') {
      const { queue, id } = lock.delivery
      this.#options.logger.warn(
        { queue, messageId: id, as: settlement.as },
        'a settlement came after its lock was lost; it changes nothing',
      )
      return
    }
    lock.stage = 'settling'
    if (isPlainAck(settlement)) {
      this.#acked.push(lock)
      if (this.#noteAck(lock)) this.#options.flush()
      else this.#options.onWritten()
    } else this.#ask(lock, settlement)
  }

  /** Puts the acks that came since into the writer. */
  writeAcks(): void {
    if (this.#unwrittenCount === 0) return
    writeAcks(this.#options.writer, this.#unwritten, this.#unwrittenCount)
    this.#unwrittenCount = 0
  }

  /** Whether a whole batch has come together: it is in the writer then. */
  #noteAck(lock: Lock): boolean {
    this.#unwritten[this.#unwrittenCount++] = lock.token
    if (this.#unwrittenCount < ackBatch) return false
    this.writeAcks()
    return true
  }

  #ask(lock: Lock, settlement: EmbeddedSettlement): void {
    const { writer, maxMessageBytes, maxStepBytes, newId, onWritten } = this.#options
    const id = newId()
    const start = writer.length
    const messages = 'send' in settlement && settlement.send !== undefined ? settlement.send : []
    try {
      writeSettle(writer, id, lock.token, headOf(settlement), messages, maxMessageBytes)
      const actualBytes = writer.length - start
      if (actualBytes > maxStepBytes) {
        writer.rewind(start)
        throw arrayTooLarge('settlement', messages.length, actualBytes, maxStepBytes)
      }
    } catch (error) {
      return this.#refused(lock, settlement, error)
    }
    this.#settling.set(id, { lock, settlement })
    if (isGrouped(settlement)) this.#grouped++
    onWritten()
  }

  /** The `count`-th ack of this connection and all before it are durable. */
  confirmed(count: number): void {
    for (; this.#confirmed < count; this.#confirmed++) {
      const lock = this.#acked.shift()
      if (lock === undefined) return
      this.#end(lock)
    }
  }

  /** Whether `requestId` was a settlement. */
  answered(requestId: number): boolean {
    const pending = this.#take(requestId)
    if (pending === undefined) return false
    this.#end(pending.lock)
    return true
  }

  failed(requestId: number, error: WireError): boolean {
    const pending = this.#take(requestId)
    if (pending === undefined) return false
    const { lock, settlement } = pending
    if (error.code === 'BUZZER_LOCK_LOST') this.#lose(lock, 'another may have the message')
    else if (lock.stage === 'settling') this.#refused(lock, settlement, fromWireError(error))
    return true
  }

  #take(requestId: number): PendingSettlement | undefined {
    const pending = this.#settling.get(requestId)
    if (pending === undefined) return undefined
    this.#settling.delete(requestId)
    if (isGrouped(pending.settlement)) this.#grouped--
    return pending
  }

  /** The engine gave the lock away. */
  lost(token: number): void {
    const lock = this.#locks.find(token)
    if (lock !== undefined)
      this.#lose(lock, 'the broker heard nothing of this process for too long, or its queue is gone')
  }

  /** What the next hello asks to keep. Nothing that was not begun: others may have it. */
  open(): KeptDelivery[] {
    return this.#locks.all().map(({ token, sequence, delivery, receiver }) => ({
      token,
      receiverId: receiver.receiverId,
      queue: receiver.queue,
      sequence,
      attempt: delivery.attempt,
    }))
  }

  /** Takes the new tokens, gives up what was not kept, and settles again what had no answer. */
  welcomed(kept: Welcome['kept']): void {
    const tokens = new Map(kept.map(({ token, newToken }) => [token, newToken]))
    const locks = this.#locks.all()
    this.#unwrittenCount = 0
    this.#confirmed = 0
    for (const lock of locks) {
      const token = tokens.get(lock.token)
      if (token !== undefined) {
        lock.token = token
      } else if (lock.stage === 'settling') {
        // It was settled before the connection broke, or the lock fell: either way nothing is left to do.
        this.#end(lock)
      } else this.#lose(lock, 'this process was away from the broker for too long')
    }
    for (let left = this.#acked.length; left > 0; left--) {
      const lock = this.#acked.shift() as Lock
      if (lock.stage === 'over') continue
      this.#acked.push(lock)
      this.#noteAck(lock)
    }
    const settling = [...this.#settling.values()]
    this.#settling.clear()
    this.#grouped = 0
    for (const { lock, settlement } of settling) if (lock.stage !== 'over') this.#ask(lock, settlement)
    this.writeAcks()
  }

  /** The session is over for good. */
  abandon(why: string): void {
    for (const lock of this.#locks.all()) this.#lose(lock, why)
    this.#settling.clear()
    this.#grouped = 0
  }

  #refused(lock: Lock, settlement: EmbeddedSettlement, error: unknown): void {
    void this.#answerRefusal(lock, settlement, error).then(next => {
      if (lock.stage !== 'over') this.#ask(lock, next)
    })
  }

  async #answerRefusal(lock: Lock, settlement: EmbeddedSettlement, error: unknown): Promise<EmbeddedSettlement> {
    const { logger } = this.#options
    const facts = { queue: lock.delivery.queue, messageId: lock.delivery.id, as: settlement.as }
    const ask = 'onRefused' in settlement ? settlement.onRefused : undefined
    if (ask !== undefined) {
      try {
        return await ask(error as Parameters<typeof ask>[0])
      } catch (cause) {
        logger.error({ ...facts, error: cause }, 'onRefused rejected; the message is delivered again')
        return { as: 'retry' }
      }
    }
    if (settlement.as === 'retry' && settlement.state === undefined && settlement.delayMs === undefined) {
      // Even the plainest settlement was refused: the lock goes with the session, nothing better is left.
      logger.error({ ...facts, error }, 'the broker refused to take a message back')
      this.#lose(lock, 'the broker refused to take it back')
      return { as: 'release' }
    }
    logger.error({ ...facts, error }, 'the broker refused a settlement; the message is delivered again')
    return { as: 'retry' }
  }

  #lose(lock: Lock, why: string): void {
    if (lock.stage === 'over') return
    const { queue, id } = lock.delivery
    lock.delivery.lose(why, { details: { queue, messageId: id } })
    if (lock.stage !== 'fetched') this.#options.logger.warn({ queue, messageId: id }, `a lock was lost: ${why}`)
    this.#end(lock)
  }

  #end(lock: Lock): void {
    if (lock.stage === 'over') return
    lock.stage = 'over'
    this.#locks.remove(lock)
    lock.receiver.ended(lock)
  }
}

function isGrouped(settlement: EmbeddedSettlement): boolean {
  return settlement.as === 'ack' && settlement.group !== undefined
}

function isPlainAck(settlement: EmbeddedSettlement): boolean {
  return (
    settlement.as === 'ack' &&
    (settlement.send === undefined || settlement.send.length === 0) &&
    (settlement.state === undefined || settlement.state.length === 0) &&
    (settlement.cancel === undefined || settlement.cancel.length === 0) &&
    settlement.group === undefined
  )
}

function headOf(settlement: EmbeddedSettlement): SettlementHead {
  switch (settlement.as) {
    case 'ack': {
      const { as, state, cancel, group } = settlement
      return {
        as,
        ...(state === undefined ? {} : { state }),
        ...(cancel === undefined ? {} : { cancel }),
        ...(group === undefined ? {} : { group }),
      }
    }
    case 'retry': {
      const { as, delayMs, state } = settlement
      if (delayMs !== undefined && !Number.isFinite(delayMs)) throw notPossible('delayMs', delayMs, 'milliseconds')
      return { as, ...(delayMs === undefined ? {} : { delayMs }), ...(state === undefined ? {} : { state }) }
    }
    case 'dead-letter': {
      const { as, reason, detail, state } = settlement
      if (typeof reason !== 'string') throw notPossible('reason', reason, 'a text')
      return { as, reason, ...(detail === undefined ? {} : { detail }), ...(state === undefined ? {} : { state }) }
    }
    case 'release':
    case 'park':
      return { as: settlement.as }
    default:
      settlement satisfies never
      throw new TypeError(`onDelivery answered with ${JSON.stringify(settlement)}, which is no settlement`)
  }
}

function notPossible(option: string, value: unknown, expected: string): BuzzerError {
  return new BuzzerError('BUZZER_INVALID_OPTION', `${option} is ${String(value)}, expected ${expected}`, {
    details: { option, value },
  })
}
