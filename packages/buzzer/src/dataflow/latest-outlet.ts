import { Channel, type Empty, type WaitOptions } from '../channels/index.ts'
import type { LinkOptions } from './block.ts'
import type { Intake } from './intake.ts'
import type { Life } from './life.ts'
import type { LinkState } from './link-state.ts'
import { Links } from './links.ts'
import type { Outlet } from './outlet.ts'
import { Takers } from './takers.ts'
import { tell } from './turn.ts'

/** The clone made for a link, kept until the link can take it: `clone` is called once per receiver. */
interface Prepared<O> {
  readonly number: number
  readonly item: O
}

export interface LatestOptions<O> {
  readonly clone: ((item: O) => O) | undefined
  /** The item outlives the end of the block. */
  readonly forEver: boolean
  subscribe(options: WaitOptions | undefined): AsyncIterableIterator<O>
}

/** The latest item, given to every link and to everybody who asks. Taking does not remove it. */
export class LatestOutlet<O> implements Outlet<O> {
  readonly life: Life
  readonly takers: Takers<O>
  readonly #options: LatestOptions<O>
  readonly #links: Links<O> = new Links()
  readonly #prepared: WeakMap<LinkState<O>, Prepared<O>> = new WeakMap()
  #latest: O | Empty = Channel.empty
  #number = 0

  constructor(life: Life, options: LatestOptions<O>) {
    this.life = life
    this.takers = new Takers(life)
    this.#options = options
    life.outlet = this as unknown as Outlet<never>
  }

  get size(): number {
    return this.#latest === Channel.empty ? 0 : 1
  }

  get linkCount(): number {
    return this.#links.list.length
  }

  /** Whether a link has still to get the latest item. */
  get owed(): boolean {
    return this.#links.list.some(link => link.owed)
  }

  /** The item becomes the latest. Calls no function of the user. */
  set(item: O): void {
    this.#latest = item
    this.#number++
    for (const link of this.#links.list) link.owed = true
    this.takers.wake()
    if (this.takers.waiting) this.life.task.schedule()
  }

  /** Gives the latest to the links that have room and to those who wait for it. In the block's own task only. */
  deliver(): void {
    for (const link of this.#links.list) {
      if (!link.active || !link.owed) continue
      if (!this.#judge(link)) {
        if (this.life.failed) return
        continue
      }
      if (!link.target.free) {
        link.target.wait(link)
        continue
      }
      const prepared = this.#prepare(link)
      if (prepared === undefined) return
      if (link.target.offer(prepared.item, link) !== 'waits') this.#given(link)
    }
    while (this.takers.waiting && this.#latest !== Channel.empty) {
      const item = this.#cloned()
      if (item === Channel.empty) return
      this.life.delivered++
      this.takers.give(item)
    }
  }

  drop(): void {
    this.#latest = Channel.empty
  }

  addLink(target: Intake<O>, options: LinkOptions<O>): LinkState<O> {
    const link = this.#links.add(this, target, options)
    link.owed = link.active && this.#latest !== Channel.empty
    if (link.owed || this.life.ended) this.life.task.schedule()
    return link
  }

  removeLink(link: LinkState<O>): void {
    this.#links.remove(link)
    // The others may be served already: then the next item's turn has come.
    if (!this.life.ended) this.life.task.schedule()
  }

  turn(link: LinkState<O>): void {
    if (!this.hasFor(link)) {
      if (link.owed) this.life.task.schedule()
      return
    }
    const prepared = this.#prepared.get(link) as Prepared<O>
    if (link.target.take(prepared.item)) this.#given(link)
    this.life.task.schedule()
  }

  /** Clones here: then taking cannot fail. In the context of the block, on the stack of the target's task. */
  hasFor(link: LinkState<O>): boolean {
    if (!link.owed || (link.where !== undefined && link.judged !== this.#number)) return false
    return this.life.task.inContext(() => this.#prepare(link)) !== undefined
  }

  takeFor(link: LinkState<O>): O {
    const { item } = this.#prepared.get(link) as Prepared<O>
    this.#given(link)
    this.life.task.schedule()
    return item
  }

  peek(): O | Empty {
    return this.#latest
  }

  tryReceive(where?: (item: O) => boolean): O | Empty {
    if (this.#latest === Channel.empty || (where !== undefined && !where(this.#latest))) return Channel.empty
    const item = this.#cloned()
    if (item !== Channel.empty) this.life.delivered++
    return item
  }

  takeAvailable(max: number): O[] {
    const item = max < 1 ? Channel.empty : this.tryReceive()
    return item === Channel.empty ? [] : [item]
  }

  receive(options: WaitOptions | undefined): Promise<O> {
    const signal = options?.signal
    if (signal?.aborted) return Promise.reject(signal.reason)
    if (this.#latest !== Channel.empty) this.life.task.schedule()
    else if (this.life.ended) return Promise.reject(this.life.closedError())
    return this.takers.receive(signal)
  }

  waitToReceive(options: WaitOptions | undefined): Promise<boolean> {
    const signal = options?.signal
    if (signal?.aborted) return Promise.reject(signal.reason)
    if (this.#latest !== Channel.empty) return tell(true)
    if (this.life.ended) return this.life.failed ? Promise.reject(this.life.error) : Promise.resolve(false)
    return this.takers.hint(signal)
  }

  receiveAll(options: WaitOptions | undefined): AsyncIterableIterator<O> {
    return this.#options.subscribe(options)
  }

  end(): void {
    if (!this.#options.forEver) this.#latest = Channel.empty
    this.#tellServed()
    if (this.#latest === Channel.empty) this.takers.end()
  }

  serveLate(): void {
    this.deliver()
    this.#tellServed()
  }

  /** A link made before the end gets the item first, however long its target has no room. */
  #tellServed(): void {
    const failure = this.life.failed ? this.life.faults[0] : undefined
    for (const link of this.#links.list) if (!link.owed) link.tell(failure)
  }

  /** Whether the link takes the latest item. */
  #judge(link: LinkState<O>): boolean {
    if (link.where === undefined) return true
    const item = this.#latest as O
    const number = this.#number
    try {
      if (link.judged !== number) link.verdict = link.where(item)
    } catch (error) {
      this.life.faultWith(error, item)
      // After the end nobody is told of a failure any more: the link goes.
      if (this.life.ended) link.unlink()
      return false
    }
    link.judged = number
    if (!link.verdict) link.owed = false
    return link.verdict && link.active
  }

  #prepare(link: LinkState<O>): Prepared<O> | undefined {
    const known = this.#prepared.get(link)
    if (known?.number === this.#number) return known
    const item = this.#cloned()
    if (item === Channel.empty) return undefined
    const prepared = { number: this.#number, item }
    this.#prepared.set(link, prepared)
    return prepared
  }

  /** The latest item for one receiver; `Channel.empty` when `clone` throws, which ends the block. */
  #cloned(): O | Empty {
    const { clone } = this.#options
    const item = this.#latest
    if (clone === undefined || item === Channel.empty) return item
    try {
      return clone(item)
    } catch (error) {
      this.life.faultWith(error, item)
      return Channel.empty
    }
  }

  #given(link: LinkState<O>): void {
    this.life.delivered++
    link.owed = false
    this.#prepared.delete(link)
    link.count()
    if (this.life.ended && link.active) link.tell(this.life.failed ? this.life.faults[0] : undefined)
  }
}
