import { Channel, type WaitOptions } from '../channels/index.ts'
import type { Fault } from './block.ts'
import type { FunctionStage } from './function-stage.ts'
import { settleCounts } from './settle-counts.ts'
import type { Life } from './life.ts'
import { Caller, Line, type Waiter } from './line.ts'
import { LinkState } from './link-state.ts'
import type { Ring } from './ring.ts'
import { currentTurn, type Task, tellDone } from './turn.ts'

/** From this capacity on room is given in chunks. */
const largeCapacity = 256

/** A `send` that waits for room. */
export class WaitingSend<I> extends Caller<void> {
  readonly item: I

  constructor(item: I, signal: AbortSignal | undefined) {
    super(signal)
    this.item = item
  }
}

/** Where the items go that an intake lets in. */
export interface Store<I> {
  /** Set when `accept` only pushes on this ring and schedules the block's task: then it need not be called. */
  readonly ring?: Ring<I>
  /** As many functions run as may: when one has ended the task runs anyway. */
  readonly saturated?: boolean
  /** Keeps the item. False: it turned out that the block takes no more; the item is not accepted. */
  accept(item: I): boolean
  /** A non-greedy block: somebody has come into the line. */
  candidate?(): void
  /** `accept` calls a function of the user, so it must not run on the stack of one who makes room. */
  readonly callsUser?: boolean
  /** Called by `complete()` of this intake. Default: completes the block. */
  complete?(): void
}

export interface IntakeOptions {
  readonly name?: string
  readonly capacity: number
  readonly greedy?: boolean
}

/** What became of an offered item. */
export type Offer = 'taken' | 'waits' | 'closed'

/**
 * The taking side of a block: capacity, and the one line in which sends and links wait for room. A join has several.
 */
export class Intake<I> {
  readonly name: string
  readonly life: Life
  readonly capacity: number
  readonly greedy: boolean
  /** Sends and links, first come first served. */
  readonly line: Line<WaitingSend<I> | LinkState<I>> = new Line()
  readonly incoming: Set<LinkState<I>> = new Set()
  /** What the block owns of this intake's items. */
  owned = 0
  open = true
  readonly #store: Store<I>
  readonly #ring: Ring<I> | undefined
  readonly #task: Task
  readonly #roomHints: Line<Caller<boolean>> = new Line()
  #told = false
  /** The turn of the event loop in which those in line were put off; -1: they were not. */
  #deferredIn = -1

  constructor(life: Life, store: Store<I>, options: IntakeOptions) {
    this.name = options.name ?? life.name
    this.life = life
    this.capacity = options.capacity
    this.greedy = options.greedy ?? true
    this.#store = store
    this.#ring = store.ring
    this.#task = life.task
    life.intakes.push(this as unknown as Intake<never>)
  }

  /** Room that nobody who waits has a right to. */
  get free(): boolean {
    return this.open && this.greedy && this.line.head === undefined && this.owned < this.capacity
  }

  /** The stage behind it, if it is a block with a function. */
  get stage(): FunctionStage<I, unknown> | undefined {
    return this.#ring === undefined ? undefined : (this.#store as FunctionStage<I, unknown>)
  }

  get waitingSends(): number {
    let count = 0
    for (let waiter: Waiter | undefined = this.line.head; waiter !== undefined; waiter = waiter.next)
      if (waiter instanceof WaitingSend) count++
    return count
  }

  post(item: I): boolean {
    settleCounts()
    refuseEmpty(item)
    return this.free && this.take(item)
  }

  send(item: I, options: WaitOptions | undefined): Promise<void> {
    settleCounts()
    const signal = options?.signal
    if (signal?.aborted) return Promise.reject(signal.reason)
    try {
      refuseEmpty(item)
    } catch (error) {
      return Promise.reject(error)
    }
    if (this.free && this.take(item)) return tellDone()
    if (!this.open) return Promise.reject(this.life.closedError())
    const waiting = new WaitingSend(item, signal)
    this.line.enter(waiting)
    if (!this.greedy) this.#store.candidate?.()
    return waiting.promise
  }

  /** Lets the item in; the caller has made sure of the room. */
  take(item: I): boolean {
    this.owned++
    this.life.accepted++
    const ring = this.#ring
    if (ring !== undefined) {
      ring.push(item)
      if (this.#store.saturated !== true) this.#task.schedule()
      return true
    }
    if (this.#store.accept(item)) return true
    this.owned--
    this.life.accepted--
    return false
  }

  /** A source offers its head. Without room the link waits in line. */
  offer(item: I, link: LinkState<I>): Offer {
    if (!this.open) return 'closed'
    if (this.free) return this.take(item) ? 'taken' : 'closed'
    this.wait(link)
    return 'waits'
  }

  /** The link has an item, and there is no room. */
  wait(link: LinkState<I>): void {
    if (link.line === undefined) this.line.enter(link)
    if (!this.greedy) this.#store.candidate?.()
  }

  /**
   * Gives room to those in line, one item a turn. To be called in the block's own task. While a large block has plenty
   * to do (`pending` items), it lets them in by the half of its capacity, or when the turn is over: to wake somebody for
   * every single item would cost more than the item.
   */
  serve(pending = 0): void {
    if (!this.greedy) return
    if (pending > this.capacity >> 1 && this.capacity >= largeCapacity && this.line.head !== undefined) {
      const turn = currentTurn()
      if (this.#deferredIn < 0 || this.#deferredIn === turn) {
        this.#deferredIn = turn
        this.#task.later()
        return
      }
    }
    this.#deferredIn = -1
    while (this.open && this.owned < this.capacity) {
      const first = this.line.head
      if (first === undefined) break
      first.leave()
      if (first instanceof LinkState) first.source.turn(first)
      else this.#admit(first)
    }
    this.#tellRoom()
  }

  /** As `serve`, but leaves links, whose sources may have to call functions, to the block's task. */
  serveCallers(): void {
    if (!this.greedy) {
      if (this.line.head !== undefined) this.#store.candidate?.()
      return
    }
    while (this.open && this.owned < this.capacity) {
      const first = this.line.head
      if (first === undefined) break
      if (first instanceof LinkState || this.#store.callsUser === true) {
        this.life.task.schedule()
        return
      }
      first.leave()
      this.#admit(first)
    }
    this.#tellRoom()
  }

  /** Resolves to true when there is room, to false when the intake is closed; rejects with the block's error. */
  waitForRoom(signal: AbortSignal | undefined): Promise<boolean> {
    settleCounts()
    if (signal?.aborted) return Promise.reject(signal.reason)
    if (this.life.failed) return Promise.reject(this.life.error)
    if (!this.open) return Promise.resolve(false)
    if (this.free) return tellDone().then(() => true)
    const hint = new Caller<boolean>(signal)
    this.#roomHints.enter(hint)
    return hint.promise
  }

  complete(): Promise<void> {
    settleCounts()
    if (this.open) {
      if (this.#store.complete === undefined) void this.life.complete()
      else this.#store.complete()
    }
    return this.life.completion
  }

  /** Takes no more: sends that wait are rejected, links keep their items in their source and are gone. */
  close(): void {
    if (!this.open) return
    this.open = false
    this.#sendAway()
    for (const link of this.incoming) link.detach()
    this.#dropHints()
  }

  /** The block has failed: as `close`, and sources that are linked with 'both' fail with the same error. */
  fail(error: unknown, origin: Fault): void {
    this.open = false
    this.owned = 0
    this.#sendAway()
    const sources = [...this.incoming].filter(link => link.propagate === 'both').map(link => link.source)
    for (const link of this.incoming) link.detach()
    this.#dropHints()
    for (const source of sources) source.life.fault(error, origin)
  }

  /** A source has ended well. The intake completes when all propagating sources have. */
  told(): void {
    this.#told = true
    this.linkGone()
  }

  /** What decides is that one source at least has told success and none is left open. */
  linkGone(): void {
    if (!this.#told || !this.open) return
    for (const link of this.incoming) if (link.propagate !== 'none') return
    void this.complete()
  }

  #admit(waiting: WaitingSend<I>): void {
    if (this.take(waiting.item)) waiting.resolve()
    else waiting.reject(this.life.closedError())
  }

  #sendAway(): void {
    for (let waiter = this.line.head; waiter !== undefined; waiter = this.line.head) {
      waiter.leave()
      if (waiter instanceof WaitingSend) waiter.reject(this.life.closedError())
    }
  }

  #tellRoom(): void {
    if (this.#roomHints.head === undefined || !this.free) return
    for (let hint = this.#roomHints.head; hint !== undefined; hint = this.#roomHints.head) {
      hint.leave()
      hint.resolve(true)
    }
  }

  #dropHints(): void {
    for (let hint = this.#roomHints.head; hint !== undefined; hint = this.#roomHints.head) {
      hint.leave()
      if (this.life.failed) hint.reject(this.life.error)
      else hint.resolve(false)
    }
  }
}

function refuseEmpty(item: unknown): void {
  if (item === Channel.empty)
    throw new TypeError('Channel.empty cannot be an item: it is the answer "nothing there" of tryReceive')
}
