import type { OnDelivery } from 'buzzer/transport'
import { OpenDelivery, type Settler } from './open-delivery.ts'
import { QueueConsumer } from './queue-consumer.ts'
import type { ReceiverHost } from './receiver.ts'
import { handle } from './settling.ts'
import { decodeMessage, type Received } from './wire-message.ts'

/** A release that comes again at once would spin: each one in a row waits twice as long, up to this. */
const longestReleaseMs = 1_000

export interface LaneEvents {
  /** Nothing stands before this one: it may run when there is room. */
  ready(entry: LaneEntry): void
  /** So many deliveries of the lane run no more. */
  ended(lane: Lane, wasRunning: number): void
  cancelled(lane: Lane): void
  failed(error: Error): void
}

/** One queue of the server whose order is kept: its consumer, and who waits for whom. */
export class Lane {
  running = 0
  readonly #consumer: QueueConsumer<LaneEntry>
  readonly #events: LaneEvents
  /** The messages of each key in order; the first one is ready, running or resting. */
  readonly #keys = new Map<string, LaneEntry[]>()
  readonly #resting = new Set<LaneEntry>()
  #closing: Promise<void> = Promise.resolve()
  #isOpen = false

  constructor(
    serverQueue: string,
    what: { readonly queue: string; readonly orderBy: 'queue' | 'key'; readonly prefetch: number },
    host: ReceiverHost,
    events: LaneEvents,
  ) {
    this.#events = events
    this.#consumer = new QueueConsumer<LaneEntry>(serverQueue, what.queue, what.prefetch, host, {
      accept: (message, tag) => {
        const received = decodeMessage(message, host.clock.now())
        return new LaneEntry(this, received, what.queue, tag, what.orderBy === 'queue' ? '' : received.key, host)
      },
      begin: entry => this.#arrived(entry),
      onLost: (lost, why) => this.#lost(lost, why),
      onCancelled: () => events.cancelled(this),
      onFailed: error => events.failed(error),
    })
  }

  get openCount(): number {
    return this.#consumer.openCount
  }

  async open(): Promise<void> {
    if (this.#isOpen) return
    this.#isOpen = true
    await this.#closing
    await this.#consumer.open()
  }

  async reopen(): Promise<void> {
    await this.#consumer.reopen()
  }

  lost(why: string): void {
    this.#consumer.lost(why)
  }

  /** Gives back, at once and in order, all that is open. */
  close(): Promise<void> {
    this.#isOpen = false
    this.#closing = this.#consumer.close()
    return this.#closing
  }

  /** Those whose time came during a pause. */
  wake(): void {
    for (const entry of this.#resting) if (!entry.hasTimer) this.rested(entry)
  }

  #arrived(entry: LaneEntry): void {
    const { key } = entry
    if (key === undefined) return this.#events.ready(entry)
    const before = this.#keys.get(key)
    if (before !== undefined) before.push(entry)
    else {
      this.#keys.set(key, [entry])
      this.#events.ready(entry)
    }
  }

  /** @internal Done for good: whoever waits behind it is next. */
  done(entry: LaneEntry): void {
    entry.isHere = false
    this.#resting.delete(entry)
    this.#consumer.ack(entry.tag)
    const { key } = entry
    if (key === undefined) return
    const behind = this.#keys.get(key)
    behind?.shift()
    const [next] = behind ?? []
    if (next === undefined) this.#keys.delete(key)
    else this.#events.ready(next)
  }

  /** @internal */
  stopped(): void {
    this.running--
    this.#events.ended(this, 1)
  }

  /** @internal Keeps its place until `rested`. */
  rests(entry: LaneEntry): void {
    this.#resting.add(entry)
  }

  /** @internal */
  rested(entry: LaneEntry): void {
    if (this.#resting.delete(entry)) this.#events.ready(entry)
  }

  #lost(lost: readonly LaneEntry[], why: string): void {
    const wasRunning = this.running
    this.running = 0
    this.#keys.clear()
    this.#resting.clear()
    for (const entry of lost) entry.lose(why)
    this.#events.ended(this, wasRunning)
  }
}

/** A message in the hands of a lane, over all attempts made here. */
export class LaneEntry implements Settler {
  readonly tag: number
  readonly key: string | undefined
  isHere = true
  readonly #lane: Lane
  readonly #received: Received
  readonly #queue: string
  readonly #host: ReceiverHost
  #retries = 0
  #releases = 0
  #current: OpenDelivery | undefined
  #timer: unknown

  constructor(lane: Lane, received: Received, queue: string, tag: number, key: string | undefined, host: ReceiverHost) {
    this.#lane = lane
    this.#received = received
    this.#queue = queue
    this.tag = tag
    this.key = key
    this.#host = host
  }

  get hasTimer(): boolean {
    return this.#timer !== undefined
  }

  /** True, and done with, when its time to live is over. */
  isExpired(): boolean {
    const { expiresAt } = this.#received
    if (expiresAt === undefined || expiresAt > this.#host.clock.now()) return false
    this.#lane.done(this)
    return true
  }

  run(onDelivery: OnDelivery): void {
    this.#lane.running++
    this.#current = new OpenDelivery(this.#received, this.#queue, this.tag, this, this.#retries)
    handle(this.#current, onDelivery, this.#host)
  }

  ack(open: OpenDelivery): void {
    this.#over(open)
    this.#lane.done(this)
    this.#lane.stopped()
  }

  retry(open: OpenDelivery, delayMs: number): void {
    this.#over(open)
    this.#retries++
    this.#releases = 0
    this.#rest(delayMs)
  }

  release(open: OpenDelivery): void {
    this.#over(open)
    this.#rest(Math.min(longestReleaseMs, 2 ** this.#releases++ - 1))
  }

  #over(open: OpenDelivery): void {
    open.isOpen = false
    this.#current = undefined
  }

  #rest(delayMs: number): void {
    const until = this.#host.clock.now() + delayMs
    this.#lane.rests(this)
    this.#wakeAt(Math.min(until, this.#received.expiresAt ?? until))
    this.#lane.stopped()
  }

  /** A timer may end a little before the wall clock is there: a message that is to expire would be delivered once more. */
  #wakeAt(at: number): void {
    const { clock } = this.#host
    this.#timer = clock.setTimeout(
      () => {
        this.#timer = undefined
        if (clock.now() < at) this.#wakeAt(at)
        else this.#lane.rested(this)
      },
      Math.max(0, at - clock.now()),
    )
  }

  /** Its channel is gone. */
  lose(why: string): void {
    this.isHere = false
    this.#host.clock.clearTimeout(this.#timer)
    this.#timer = undefined
    this.#current?.lose(why)
  }
}
