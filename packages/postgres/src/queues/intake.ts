import { BuzzerError, hasCode } from 'buzzer'
import type { OnDelivery, OrderBy } from 'buzzer/transport'
import { type ClaimAnswer, heldOf, lowestRank } from './claim-answer.ts'
import { type Held, leaseTrust } from './lease.ts'
import { LocalReceiver, type ReceiverHost } from './local-receiver.ts'
import type { Session } from './session.ts'

export interface IntakeEvents extends Pick<ReceiverHost, 'onAnswer' | 'onFailure'> {
  /** Gives back, uncounted, what came for nobody. */
  giveBack(held: readonly Held[], queue: IntakeQueue): Promise<void>
  /** Chunks of a queue that was given an order later hold keys: they must be broken up before anything is handed out. */
  breakUp(queue: IntakeQueue): Promise<void>
  /** The queue is gone. */
  onGone(intake: Intake): void
  /** A receiver has stopped; the last one, when none is left. */
  onStopped(intake: Intake): Promise<void>
  /** More settlements wait than may. */
  readonly isBehind: boolean
  /** Whether notifications come, so that polling may be slow. */
  readonly isHearing: boolean
}

/** `id` is negative for the dead letters of a queue, and 0 for publishes that wait for their time. */
export interface IntakeQueue {
  readonly id: number
  readonly name: string
  readonly orderBy: OrderBy
}

const maxClaimed = 5_000
const maxClaimedBytes = 8 * 1024 * 1024
const maxChunks = 1_000
/** Between so many the event loop turns: what their handlers have sent is on its way while the next are handed out. */
const handedAtOnce = 250
const slowestPollMs = 5_000
/** A claim that costs the server more wades through dead rows that vacuum may not remove yet: begin above them for a while. */
const cheapMs = 5
const thoroughEveryMs = 1_000
/** Others hold for the blink of a transaction what there is. */
const busyMs = 4
/** What was stored between the first empty look and the note that we wait is told by nobody, and found so late. */
const secondLookMs = 5

/**
 * What a client takes from one queue, for all its receivers of it: one claim at a time, for as much as they have room for.
 *
 *   looking ──something──▶ handing out ──▶ looking
 *      └──nothing, twice──▶ waiting ── a hint, the next due time or the poll ──▶ looking
 *
 * The second look comes after the server has noted that we wait, so what was stored in between is seen by one of them. What
 * this client sends itself while it waits comes to it with the answer to the send, without a claim, where nobody else waits.
 */
export class Intake implements ReceiverHost {
  queue: IntakeQueue
  readonly receivers: LocalReceiver[] = []
  readonly #session: Session
  readonly #events: IntakeEvents
  readonly #pollMs: number
  #claiming: Promise<void> | undefined
  /** The one under way, or the last. */
  #claim: Promise<number | undefined> | undefined
  #timer: unknown
  #isAsking = false
  #isWaiting = false
  #isHinted = false
  #isEnded = false
  /** When this client last sent something here. */
  #fedAt = Number.NEGATIVE_INFINITY
  /** Room kept for what is being stored. */
  #reserved = 0
  readonly #whenFree: (() => void)[] = []
  #idleMs: number
  #next = 0
  /** Where claims begin that are not thorough, and since when; 0: all are. */
  #lowest = 0
  #thoroughAt = Number.NEGATIVE_INFINITY
  /** Messages to a chunk, as seen of late: how many chunks make up what is wanted. */
  #chunkSize = 1

  constructor(session: Session, queue: IntakeQueue, pollMs: number, events: IntakeEvents) {
    this.#session = session
    this.queue = queue
    this.#pollMs = pollMs
    this.#events = events
    this.#idleMs = pollMs
  }

  add(onDelivery: OnDelivery, maxInFlight: number): LocalReceiver {
    const receiver = new LocalReceiver(this, this.queue, onDelivery, maxInFlight)
    this.receivers.push(receiver)
    this.hint()
    return receiver
  }

  /** There may be something. */
  hint(): void {
    this.#isHinted = true
    this.#idleMs = this.#pollMs
    this.#look()
  }

  /** Takes nothing more, and wakes nobody; resolves when no claim is under way. */
  async end(): Promise<void> {
    this.#isEnded = true
    for (const receiver of this.receivers) receiver.end()
    this.#session.clock.clearTimeout(this.#timer)
    await this.#claiming
    if (this.#reserved > 0) await new Promise<void>(resolve => this.#whenFree.push(resolve))
  }

  /** Keeps room for messages that may come as they are stored. Only while there is nothing here, and none of them is ordered. */
  reserve(count: number): boolean {
    const { orderBy, id } = this.queue
    this.#fedAt = this.#session.clock.monotonic()
    const isIdle = this.#isWaiting && !this.#isAsking && !this.#isEnded && !this.#events.isBehind
    if (!isIdle || orderBy !== 'none' || id <= 0 || this.#credit < count) return false
    this.#reserved += count
    return true
  }

  /** Ends a reservation: with what came of it, or with nothing. */
  async release(count: number, held: readonly Held[], leasedAt: number): Promise<void> {
    let left = count
    const free = (share: number): void => {
      left -= share
      this.#reserved -= share
    }
    await this.#handOut(held, leasedAt, () => free(1))
    free(left)
    if (this.#reserved === 0) for (const resolve of this.#whenFree.splice(0)) resolve()
    this.#look()
  }

  onCredit(): void {
    this.#look()
  }

  onAnswer(...given: Parameters<ReceiverHost['onAnswer']>): void {
    this.#events.onAnswer(...given)
  }

  onFailure(...given: Parameters<ReceiverHost['onFailure']>): void {
    this.#events.onFailure(...given)
  }

  async onPause(): Promise<void> {
    // What a claim under way brings is given back or goes to others; those after it know that there is no room.
    await this.#claim
  }

  onResume(): void {
    this.hint()
  }

  async onStop(receiver: LocalReceiver): Promise<void> {
    const at = this.receivers.indexOf(receiver)
    if (at >= 0) this.receivers.splice(at, 1)
    await this.#events.onStopped(this)
  }

  get #credit(): number {
    let credit = 0
    for (const receiver of this.receivers) credit += receiver.credit
    return Math.min(credit - this.#reserved, maxClaimed)
  }

  #look(): void {
    if (this.#claiming !== undefined || this.#isEnded || this.#credit === 0 || this.#events.isBehind) return
    if (this.#timer !== undefined && !this.#isHinted) return
    this.#session.clock.clearTimeout(this.#timer)
    this.#timer = undefined
    this.#claiming = this.#claimAll().finally(() => {
      this.#claiming = undefined
      // Room may have been made between the last look at it and now.
      this.#look()
    })
  }

  async #claimAll(): Promise<void> {
    // Credit that becomes free in this turn of the event loop is asked for at once.
    await new Promise<void>(resolve => setImmediate(resolve))
    let pauseMs: number | undefined
    while (pauseMs === undefined) {
      const want = this.#credit
      if (want === 0 || this.#isEnded || this.#events.isBehind) return
      this.#isHinted = false
      this.#claim = this.#claimFor(want)
      pauseMs = await this.#claim
    }
    if (this.#isEnded) return
    this.#timer = this.#session.clock.setTimeout(
      () => {
        this.#timer = undefined
        this.#look()
      },
      this.#isHinted ? 0 : pauseMs,
    )
  }

  /** One claim; how long to wait before the next, or `undefined` for not at all. */
  async #claimFor(want: number): Promise<number | undefined> {
    const { clock, time, database, sql, client, options, logger } = this.#session
    const { id, orderBy } = this.queue
    const sentAt = clock.now()
    const lookedAt = clock.monotonic()
    let leasedAt = lookedAt
    const isThorough = this.#lowest === 0 || lookedAt - this.#thoroughAt >= thoroughEveryMs
    const chunks = Math.min(maxChunks, Math.ceil(want / this.#chunkSize) + 1)
    let answer: ClaimAnswer
    let data: Buffer
    this.#isAsking = true
    try {
      const { rows } = await database.run(connection => {
        leasedAt = clock.monotonic()
        return connection.query(sql.claim, [
          client,
          id,
          want,
          chunks,
          maxClaimedBytes,
          options.leaseMs,
          orderBy !== 'none' && id > 0,
          this.#isWaiting,
          isThorough ? 0 : this.#lowest,
        ])
      })
      const row = rows[0] as { head: string; data: Buffer | null }
      answer = JSON.parse(row.head) as ClaimAnswer
      data = row.data ?? Buffer.alloc(0)
    } catch (error) {
      // What a lost answer had claimed comes back when its lease runs out.
      if (!this.#session.isClosed && !hasCode(error, 'BUZZER_DISCONNECTED')) {
        logger.error({ error, queue: this.queue.name }, 'messages cannot be claimed from PostgreSQL; trying again')
      }
      this.#isWaiting = false
      return this.#session.isClosed ? this.#pollMs : Math.min(100, this.#pollMs)
    } finally {
      this.#isAsking = false
    }
    if (answer.as === 'gone') {
      this.#events.onGone(this)
      return this.#pollMs
    }
    if (answer.as === 'keyed') {
      await this.#events.breakUp(this.queue)
      return undefined
    }
    time.observe(answer.now, sentAt)
    if (isThorough) {
      this.#thoroughAt = lookedAt
      const found = lowestRank(answer)
      if (answer.took <= cheapMs) this.#lowest = 0
      else if (found !== undefined) this.#lowest = found
    }
    const wasWaiting = this.#isWaiting
    this.#isWaiting = answer.drained
    if (answer.items !== null) {
      this.#idleMs = this.#pollMs
      const held = heldOf(answer, data, id, leasedAt, time)
      this.#learn(answer)
      await this.#handOut(held, leasedAt)
      // Where we send to ourselves, more comes with the answers to our own sends.
      return answer.drained && clock.monotonic() - this.#fedAt < secondLookMs ? secondLookMs : undefined
    }
    if (answer.busy) return busyMs
    // The first empty look has told the server that we wait: only the second may believe that there is nothing. Under load
    // somebody of ours sends before it is time for it.
    if (!wasWaiting) return secondLookMs
    const untilDue = answer.due === null ? Number.POSITIVE_INFINITY : Math.max(0, answer.due - answer.now)
    const pauseMs = Math.min(untilDue, this.#idleMs)
    if (this.#events.isHearing) this.#idleMs = Math.min(slowestPollMs, Math.max(this.#pollMs, this.#idleMs * 1.5))
    else this.#idleMs = this.#pollMs
    return Math.ceil(pauseMs)
  }

  #learn(answer: ClaimAnswer): void {
    let chunks = 0
    let messages = 0
    for (const item of answer.items ?? []) {
      if (item[0] !== 0) continue
      chunks++
      messages += item[3] - item[2]
    }
    if (chunks > 0) this.#chunkSize = Math.max(1, (this.#chunkSize + messages / chunks) / 2)
  }

  async #handOut(held: readonly Held[], leasedAt: number, onNext?: () => void): Promise<void> {
    const { clock, options } = this.#session
    const leftOver: Held[] = []
    for (const [at, one] of held.entries()) {
      if (at % handedAtOnce === 0) {
        if (at > 0) await new Promise<void>(resolve => setImmediate(resolve))
        // A process that was stopped wakes with the answer in its socket: by now the messages may be in other hands.
        if (clock.monotonic() - leasedAt >= options.leaseMs * leaseTrust) break
      }
      onNext?.()
      const receiver = this.#nextReceiver()
      if (receiver === undefined) leftOver.push(one)
      else receiver.deliver(one)
    }
    if (leftOver.length > 0) await this.#events.giveBack(leftOver, this.queue)
  }

  #nextReceiver(): LocalReceiver | undefined {
    for (let tried = 0; tried < this.receivers.length; tried++) {
      this.#next = (this.#next + 1) % this.receivers.length
      const receiver = this.receivers[this.#next] as LocalReceiver
      if (receiver.credit > 0) return receiver
    }
    return undefined
  }
}

/** A queue that nobody declared. */
export function queueNotFound(name: string): BuzzerError {
  return new BuzzerError('BUZZER_QUEUE_NOT_FOUND', `there is no queue ${name}`, { details: { queue: name } })
}
