import type { BuzzerError } from 'buzzer'
import type { OnDelivery } from 'buzzer/transport'
import { restartConsumer } from './consumer-restart.ts'
import { Lane, type LaneEntry } from './lane.ts'
import type { RabbitReceiver, ReceiverHost } from './receiver.ts'
import type { Turn } from './turn.ts'

/** Messages that a lane holds beyond those at work: how far it sees past a key that waits. */
const laneWindow = 100

export interface OrderedReceiverOptions {
  /** The queues at the server that make up the queue, each with a single active consumer, or with turns. */
  readonly serverQueues: readonly string[]
  /** `queue`: one delivery at a time. `key`: one at a time of each key. */
  readonly orderBy: 'queue' | 'key'
  readonly maxInFlight: number
  /** Where the queue itself cannot keep to one consumer at a time. */
  readonly turn?: Turn
}

/**
 * Deliveries in order: of each key (or of the whole queue) one at a time, in the order of acceptance, over all processes.
 * The server gives each lane to one active consumer; within the lane the order is kept here, in memory.
 *
 * A retry or release keeps its place: the message stays in our hands until its time has come, and its key waits for it, while
 * the others of its lane are settled around it. Giving it back to the server would lose its place for good if this process
 * died before it came again. The price: attempts made here are counted here, and a death forgets those since the last one.
 */
export class OrderedReceiver implements RabbitReceiver {
  readonly queue: string
  readonly serverQueues: readonly string[]
  readonly #host: ReceiverHost
  readonly #onDelivery: OnDelivery
  readonly #lanes: readonly Lane[]
  readonly #ready: LaneEntry[] = []
  readonly #maxInFlight: number
  readonly #turn: Turn | undefined
  #running = 0
  #state: 'open' | 'paused' | 'stopping' | 'ended' = 'open'
  #stopping: Promise<void> | undefined
  #whenQuiet: (() => void)[] = []
  readonly #cancels = new Map<Lane, number>()

  constructor(queue: string, onDelivery: OnDelivery, host: ReceiverHost, options: OrderedReceiverOptions) {
    const { serverQueues, orderBy, maxInFlight, turn } = options
    this.queue = queue
    this.serverQueues = turn === undefined ? serverQueues : [turn.queue, ...serverQueues]
    this.#host = host
    this.#onDelivery = onDelivery
    this.#maxInFlight = orderBy === 'queue' ? 1 : maxInFlight
    this.#turn = turn
    const prefetch = orderBy === 'queue' ? 1 : Math.max(maxInFlight, laneWindow)
    this.#lanes = serverQueues.map(
      name =>
        new Lane(name, { queue, orderBy, prefetch }, host, {
          ready: entry => this.#enqueue(entry),
          ended: (lane, wasRunning) => this.#ended(lane, wasRunning),
          cancelled: lane => void this.#cancelled(lane),
          failed: error => this.#failed(error),
        }),
    )
  }

  get openCount(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.openCount, 0)
  }

  async open(): Promise<void> {
    if (this.#turn !== undefined) {
      // Rejects for a queue that is not there, like any receiver.
      await this.#turn.begin({
        taken: () => this.#openLanes(),
        lost: () => void Promise.all(this.#lanes.map(lane => lane.close())),
        failed: error => this.#failed(error),
      })
      return
    }
    await this.#openLanes()
  }

  async #openLanes(): Promise<void> {
    if (this.#state === 'open') await Promise.all(this.#lanes.map(lane => lane.open()))
  }

  async reopen(): Promise<void> {
    if (this.#state !== 'open') return
    if (this.#turn !== undefined) await this.#turn.reopen()
    else await Promise.all(this.#lanes.map(lane => lane.reopen()))
  }

  lost(why: string): void {
    this.#turn?.lost()
    for (const lane of this.#lanes) lane.lost(why)
  }

  /** What was fetched goes back when nothing of its lane runs any more: a channel can only be given up as a whole. */
  async pause(): Promise<void> {
    if (this.#state !== 'open') return
    this.#state = 'paused'
    this.#closeQuietLanes()
  }

  async resume(): Promise<void> {
    if (this.#state !== 'paused') return
    this.#state = 'open'
    for (const lane of this.#lanes) lane.wake()
    this.#pump()
    if (this.#turn !== undefined) await this.open()
    else await this.#openLanes()
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async #stop(): Promise<void> {
    if (this.#state === 'ended') return
    this.#state = 'stopping'
    this.#closeQuietLanes()
    if (this.#running > 0) await new Promise<void>(resolve => this.#whenQuiet.push(resolve))
    await this.end()
    this.#host.stopped(this)
  }

  async end(): Promise<void> {
    this.#state = 'ended'
    await Promise.all(this.#lanes.map(lane => lane.close()))
    await this.#turn?.end()
  }

  #closeQuietLanes(): void {
    for (const lane of this.#lanes) if (lane.running === 0) void lane.close()
    if (this.#running === 0) void this.#turn?.end()
  }

  #enqueue(entry: LaneEntry): void {
    this.#ready.push(entry)
    this.#pump()
  }

  #pump(): void {
    while (this.#state === 'open' && this.#running < this.#maxInFlight && this.#ready.length > 0) {
      const entry = this.#ready.shift() as LaneEntry
      if (!entry.isHere || entry.isExpired()) continue
      this.#running++
      entry.run(this.#onDelivery)
    }
  }

  /** A delivery ended, or its lock is lost. */
  #ended(lane: Lane, wasRunning: number): void {
    this.#running -= wasRunning
    if (this.#state !== 'open' && lane.running === 0) {
      void lane.close()
      if (this.#running === 0) {
        void this.#turn?.end()
        for (const resolve of this.#whenQuiet.splice(0)) resolve()
      }
    }
    this.#pump()
  }

  async #cancelled(lane: Lane): Promise<void> {
    const cancels = (this.#cancels.get(lane) ?? 0) + 1
    this.#cancels.set(lane, cancels)
    const error = await restartConsumer(this.queue, cancels, lane, this.#host)
    if (error !== undefined) this.#failed(error)
  }

  #failed(error: Error): void {
    if (this.#state === 'ended') return
    void this.end()
    for (const resolve of this.#whenQuiet.splice(0)) resolve()
    this.#host.ended(this, error as BuzzerError)
  }
}
