import type { JsonObject } from '../../../message/index.ts'
import { deadLetterQueue, type OrderBy, type OutgoingMessage, type QueueLimits } from '../../index.ts'
import { DeduplicationWindow } from './deduplication-window.ts'
import { Deque } from './deque.ts'
import { Entry } from './entry.ts'
import { ReadyList } from './ready-list.ts'
import type { MemoryReceiver } from './receiver.ts'
import { Timers } from './timers.ts'

/** The messages of one key (or, with `orderBy: 'queue'`, of the whole queue). Only its head can be delivered. */
export interface Lane {
  readonly name: string
  readonly waiting: Deque<Entry>
  /** Entries outside `waiting`: ready, locked or waiting for a retry. The next one moves up when there is none. */
  heads: number
}

/** What queues share: sequences, time, totals, and the dispatcher's ear. */
export interface QueueHost {
  readonly wall: Timers
  readonly monotonic: Timers
  nextSequence(): number
  /** Room taken (positive) or given back (negative). */
  occupy(messages: number, bytes: number): void
  /** Something can be delivered now. */
  deliverable(queue: MemoryQueue): void
  /** Something was given back: deliverable from the next turn of the event loop on. */
  returned(queue: MemoryQueue): void
  /** A message scheduled by its sender came due or was removed. */
  unscheduled(entry: Entry): void
}

const defaultMaxDeliveries = 10
const wholeQueue = ''

/**
 * One queue and the states of its messages:
 *
 *   accept ──▶ scheduled ──due──▶ ready ──take──▶ locked ──remove──▶ gone (acked)
 *                  ▲                ▲                │
 *                  └── retry later ─┼──── release ───┤
 *                                   └── unpark ── parked
 *
 * From every state but `locked` a message may also expire, be purged, or (returned too often) become a dead letter, which is
 * an entry of the companion queue `<name>.dead`.
 */
export class MemoryQueue {
  readonly name: string
  /** The dead-letter queue of this queue; a dead-letter queue has none. */
  readonly dead: MemoryQueue | undefined
  readonly receivers: MemoryReceiver[] = []
  readonly scheduled: Set<Entry> = new Set()
  readonly parked: Set<Entry> = new Set()
  readonly window: DeduplicationWindow = new DeduplicationWindow()
  options: QueueLimits = {}
  locked = 0
  readyCount = 0
  messages = 0
  bytes = 0
  lastUseAt: number
  isDeleted = false
  isDispatchPending = false
  /** Round robin over receivers. */
  nextReceiver = 0
  readonly #host: QueueHost
  #ready = new ReadyList()
  #lanes = new Map<string, Lane>()
  #returning: Entry[] = []
  #orderBy: OrderBy = 'none'

  constructor(name: string, host: QueueHost, kind: 'queue' | 'dead-letter-queue' = 'queue') {
    this.name = name
    this.#host = host
    this.lastUseAt = host.monotonic.now()
    this.dead = kind === 'queue' ? new MemoryQueue(deadLetterQueue(name), host, 'dead-letter-queue') : undefined
  }

  get orderBy(): OrderBy {
    return this.#orderBy
  }

  /** Whether a receiver with room would get something, now or from the next turn on. */
  get hasDeliverable(): boolean {
    return this.#ready.size > 0 || this.#returning.length > 0
  }

  get readyNow(): number {
    return this.#ready.size
  }

  /** Takes effect at once, for waiting messages too. */
  configure(options: QueueLimits): void {
    this.options = options
    const orderBy = options.orderBy ?? 'none'
    if (orderBy !== this.#orderBy) this.#reorder(orderBy)
    for (const entry of this.entries()) {
      if (entry.state === 'locked') this.#limitLife(entry)
      else this.#armExpiry(entry)
    }
    const { deadLetterTtlMs } = options
    if (this.dead !== undefined) {
      this.dead.configure(deadLetterTtlMs === undefined ? {} : { ttlMs: deadLetterTtlMs })
    }
  }

  /** Takes a message in. Limits and deduplication were judged before. */
  accept(message: OutgoingMessage, bytes: number, now: number): Entry {
    const entry = new Entry(this.#host.nextSequence(), this, message, bytes, now)
    this.#occupy(entry)
    if (message.deliverAt !== undefined && message.deliverAt > now) {
      entry.availableAt = message.deliverAt
      this.#schedule(entry, message.deliverAt, () => {
        // A scheduled message takes its place at the end when it becomes available.
        entry.rank = this.#host.nextSequence()
        this.#becomeReady(entry)
      })
    } else {
      this.#becomeReady(entry)
    }
    return entry
  }

  /** The next message to deliver, now locked and counted. */
  take(): Entry | undefined {
    for (;;) {
      const entry = this.#ready.take()
      if (entry === undefined) return undefined
      if (entry.expiresAt !== Number.POSITIVE_INFINITY) {
        if (entry.expiresAt <= this.#host.wall.now()) {
          entry.spot = 'none'
          this.#expire(entry)
          continue
        }
        Timers.cancel(entry.expiry)
        entry.expiry = undefined
      }
      this.readyCount--
      this.locked++
      entry.state = 'locked'
      entry.attempt++
      return entry
    }
  }

  /** Takes a locked, ready, scheduled or parked message out for good. */
  remove(entry: Entry): void {
    this.#leaveState(entry)
    entry.state = 'gone'
    if (entry.expiry !== undefined) Timers.cancel(entry.expiry)
    this.messages--
    this.bytes -= entry.bytes
    this.#host.occupy(-1, -entry.bytes)
    this.#leaveLane(entry)
  }

  /** A locked message comes back uncounted, to its old place. */
  release(entry: Entry): void {
    entry.attempt--
    this.#giveBack(entry)
  }

  /**
   * A locked message comes back counted, after `delayMs`; to the dead letters when it was delivered too often.
   * `ended` says how the delivery ended, for the dead letter.
   */
  retry(entry: Entry, delayMs: number, ended: 'retry' | 'lock-lost' | 'session-ended'): void {
    const { maxDeliveries = defaultMaxDeliveries } = this.options
    if (this.dead !== undefined && entry.attempt >= maxDeliveries) {
      this.deadLetter(entry, 'max-deliveries-exceeded', { ended, maxDeliveries })
      return
    }
    if (this.dead === undefined && entry.attempt >= defaultMaxDeliveries) {
      this.park(entry)
      return
    }
    if (!(delayMs > 0)) {
      this.#giveBack(entry)
      return
    }
    if (this.#hasExpired(entry)) {
      this.#expire(entry)
      return
    }
    this.#leaveState(entry)
    entry.state = 'scheduled'
    this.scheduled.add(entry)
    entry.dueAt = this.#host.wall.now() + delayMs
    // Retry delays run on the monotonic clock: a wall clock that jumps must not fire them early.
    entry.due = this.#host.monotonic.set(this.#host.monotonic.now() + delayMs, () => {
      this.#leaveState(entry)
      this.#ready.insert(entry, this.#priority(entry))
      this.#enterReady(entry)
      this.#host.deliverable(this)
    })
    this.#armExpiry(entry)
  }

  /** Sets a locked message aside: out of the order, without expiry, until `unpark`. A dead letter that failed stays so. */
  park(entry: Entry): void {
    this.#leaveState(entry)
    this.#leaveLane(entry)
    entry.state = 'parked'
    this.parked.add(entry)
    this.#armExpiry(entry)
  }

  /** Back to its old place with its attempt. */
  unpark(entry: Entry): void {
    this.#leaveState(entry)
    const lane = this.#laneOf(entry)
    if (lane !== undefined) this.#join(lane, entry)
    else this.#ready.insert(entry, this.#priority(entry))
    this.#enterReady(entry)
    this.#armExpiry(entry)
    this.#host.deliverable(this)
  }

  /** Moves a message to the dead-letter queue; one that lies there already stays there, set aside. */
  deadLetter(entry: Entry, reason: string, detail: JsonObject | undefined): void {
    if (this.dead === undefined) {
      this.park(entry)
      return
    }
    const { message, bytes, attempt, enqueuedAt, availableAt } = entry
    this.remove(entry)
    const now = this.#host.wall.now()
    const grave = new Entry(this.#host.nextSequence(), this.dead, message, bytes, enqueuedAt)
    grave.deadLetter = { reason, deadAt: now, ...(detail === undefined ? {} : { detail }) }
    grave.attemptsBeforeDeath = attempt
    grave.availableAt = availableAt
    this.dead.#occupy(grave)
    this.dead.#becomeReady(grave)
  }

  /** Makes ready what was given back in the turn before. */
  flushReturning(): void {
    const returning = this.#returning
    if (returning.length === 0) return
    this.#returning = []
    for (const entry of returning) {
      if (entry.spot !== 'returning') continue
      this.#ready.insert(entry, this.#priority(entry))
    }
    this.#host.deliverable(this)
  }

  /** Everything in the queue, its dead letters aside, in no order. */
  *entries(): Generator<Entry> {
    yield* this.#ready
    for (const lane of this.#lanes.values()) for (const entry of lane.waiting) if (entry.spot === 'lane') yield entry
    for (const entry of this.#returning) if (entry.spot === 'returning') yield entry
    yield* this.scheduled
    yield* this.parked
    for (const receiver of this.receivers) yield* receiver.openEntries()
  }

  #becomeReady(entry: Entry): void {
    if (entry.state === 'scheduled') this.#leaveState(entry)
    const lane = this.#laneOf(entry)
    if (lane !== undefined && lane.heads > 0) {
      entry.lane = lane
      entry.spot = 'lane'
      lane.waiting.push(entry)
    } else {
      if (lane !== undefined) this.#head(lane, entry)
      this.#ready.append(entry, this.#priority(entry))
    }
    this.#enterReady(entry)
    this.#armExpiry(entry)
    this.#host.deliverable(this)
  }

  #enterReady(entry: Entry): void {
    entry.state = 'ready'
    entry.dueAt = undefined
    this.readyCount++
  }

  #giveBack(entry: Entry): void {
    if (this.#hasExpired(entry)) {
      this.#expire(entry)
      return
    }
    this.#leaveState(entry)
    entry.spot = 'returning'
    this.#returning.push(entry)
    this.#enterReady(entry)
    this.#armExpiry(entry)
    // Redelivery passes through the event loop, so a failing handler cannot starve timers and sockets.
    this.#host.returned(this)
  }

  /** Undoes what the present state keeps of the entry. */
  #leaveState(entry: Entry): void {
    switch (entry.state) {
      case 'locked':
        this.locked--
        entry.open = undefined
        break
      case 'ready':
        this.readyCount--
        if (entry.spot === 'ready') this.#ready.remove(entry, this.#priority(entry))
        entry.spot = 'none'
        break
      case 'scheduled':
        this.scheduled.delete(entry)
        Timers.cancel(entry.due)
        entry.due = undefined
        entry.dueAt = undefined
        if (entry.attempt === 0) this.#host.unscheduled(entry)
        break
      case 'parked':
        this.parked.delete(entry)
        break
      case 'dead':
      case 'gone':
        break
    }
  }

  #schedule(entry: Entry, at: number, onDue: () => void): void {
    entry.state = 'scheduled'
    entry.dueAt = at
    this.scheduled.add(entry)
    entry.due = this.#host.wall.set(at, onDue)
    this.#armExpiry(entry)
  }

  #occupy(entry: Entry): void {
    this.messages++
    this.bytes += entry.bytes
    this.#host.occupy(1, entry.bytes)
  }

  #priority(entry: Entry): number {
    return this.#orderBy === 'queue' ? 0 : entry.message.priority
  }

  // Time to live.

  #limitLife(entry: Entry): void {
    const { ttlMs } = this.options
    if (entry.deadLetter !== undefined) {
      // The message's own time to live no longer applies to a dead letter.
      entry.expiresAt = ttlMs === undefined ? Number.POSITIVE_INFINITY : entry.deadLetter.deadAt + ttlMs
      return
    }
    const own = entry.message.expiresAt ?? Number.POSITIVE_INFINITY
    entry.expiresAt = ttlMs === undefined ? own : Math.min(own, entry.availableAt + ttlMs)
  }

  #hasExpired(entry: Entry): boolean {
    return entry.expiresAt !== Number.POSITIVE_INFINITY && entry.expiresAt <= this.#host.wall.now()
  }

  #armExpiry(entry: Entry): void {
    if (entry.expiry !== undefined) Timers.cancel(entry.expiry)
    entry.expiry = undefined
    this.#limitLife(entry)
    if (entry.expiresAt === Number.POSITIVE_INFINITY || (entry.state === 'parked' && this.dead !== undefined)) return
    entry.expiry = this.#host.wall.set(entry.expiresAt, () => {
      if (entry.state !== 'locked' && entry.state !== 'gone') this.#expire(entry)
    })
  }

  #expire(entry: Entry): void {
    if (this.options.deadLetterExpired === true && this.dead !== undefined) {
      this.deadLetter(entry, 'expired', undefined)
    } else {
      this.remove(entry)
    }
  }

  // Lanes.

  #laneOf(entry: Entry): Lane | undefined {
    if (this.#orderBy === 'none') return undefined
    const name = this.#orderBy === 'queue' ? wholeQueue : entry.message.key
    if (name === undefined) return undefined
    let lane = this.#lanes.get(name)
    if (lane === undefined) {
      lane = { name, waiting: new Deque(), heads: 0 }
      this.#lanes.set(name, lane)
    }
    return lane
  }

  #head(lane: Lane, entry: Entry): void {
    entry.lane = lane
    entry.isHead = true
    lane.heads++
  }

  /** Puts an entry into its lane at the place its sequence gives it. */
  #join(lane: Lane, entry: Entry): void {
    entry.lane = lane
    if (lane.heads === 0) {
      this.#head(lane, entry)
      this.#ready.insert(entry, this.#priority(entry))
      return
    }
    const waiting = [...lane.waiting].filter(one => one.spot === 'lane')
    const at = waiting.findIndex(one => one.rank > entry.rank)
    waiting.splice(at < 0 ? waiting.length : at, 0, entry)
    entry.spot = 'lane'
    lane.waiting.filter(() => false)
    for (const one of waiting) lane.waiting.push(one)
  }

  #leaveLane(entry: Entry): void {
    const { lane } = entry
    entry.lane = undefined
    if (lane === undefined || !entry.isHead) return
    entry.isHead = false
    lane.heads--
    if (lane.heads > 0) return
    for (let next = lane.waiting.shift(); next !== undefined; next = lane.waiting.shift()) {
      if (next.spot !== 'lane') continue
      this.#head(lane, next)
      this.#ready.insert(next, this.#priority(next))
      this.#host.deliverable(this)
      return
    }
    this.#lanes.delete(lane.name)
  }

  #reorder(orderBy: OrderBy): void {
    const all = [...this.entries()].toSorted((a, b) => a.rank - b.rank)
    this.#orderBy = orderBy
    this.#ready = new ReadyList()
    this.#lanes = new Map()
    this.#returning = []
    for (const entry of all) {
      entry.lane = undefined
      entry.isHead = false
      entry.position = -1
      // What waits for its first due time has no place in the order yet; what waits for a retry has.
      const hasPlace = entry.state === 'locked' || (entry.state === 'scheduled' && entry.attempt > 0)
      const lane = hasPlace ? this.#laneOf(entry) : undefined
      if (lane !== undefined) this.#head(lane, entry)
    }
    for (const entry of all) {
      if (entry.state !== 'ready') continue
      const lane = this.#laneOf(entry)
      if (lane !== undefined && lane.heads > 0) {
        entry.lane = lane
        entry.spot = 'lane'
        lane.waiting.push(entry)
      } else {
        if (lane !== undefined) this.#head(lane, entry)
        this.#ready.append(entry, this.#priority(entry))
      }
    }
    this.#host.deliverable(this)
  }
}
