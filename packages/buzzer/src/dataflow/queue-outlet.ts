import { Channel, type Empty, type WaitOptions } from '../channels/index.ts'
import type { LinkOptions } from './block.ts'
import { stalledAfterMs, stalledChannel, unmatchedChannel } from './diagnostics.ts'
import { UnmatchedItemError } from './errors.ts'
import type { FunctionStage } from './function-stage.ts'
import { settleCounts } from './settle-counts.ts'
import type { Intake } from './intake.ts'
import type { Life } from './life.ts'
import type { LinkState } from './link-state.ts'
import { Links } from './links.ts'
import { type BlockOptions, checkOneOf } from './options.ts'
import type { Outlet } from './outlet.ts'
import { Ring } from './ring.ts'
import { ItemIterator, Takers } from './takers.ts'
import { tell } from './turn.ts'

// Kept from load time, so that mocked timers do not stop a block.
const nextTurn = setImmediate

/** Whose capacity the outputs count against: an intake. */
interface Owner {
  owned: number
}

/**
 * Outputs in order, each to exactly one taker: the head goes to the first link that accepts it, else to whoever waits in
 * `receive`. Links are asked in the block's own task only.
 */
export class QueueOutlet<O> implements Outlet<O> {
  readonly life: Life
  readonly takers: Takers<O>
  readonly #ring: Ring<O> = new Ring()
  readonly #links: Links<O> = new Links()
  readonly #unmatched: 'fault' | 'drop' | 'wait'
  /** Where the items count that have come in. */
  readonly #owner: Owner
  /** Frees what the item took of the block's capacity. Not set: one for one, in `#owner`. */
  readonly #freed: ((item: O) => void) | undefined
  /** The one link, when it takes everything: the way for whole runs of items. */
  #direct: LinkState<O> | undefined = undefined
  /** The number of the head. */
  #number = 0
  /** The number of the head that all links have been asked about. */
  #offered = -1
  /** The number of the head that somebody was told of. */
  #hintedAt = -1
  #stallTimer: unknown = undefined
  #stalledAt = -1

  constructor(life: Life, options: BlockOptions, freed: Owner | ((item: O) => void)) {
    this.life = life
    this.takers = new Takers(life)
    this.#unmatched = checkOneOf('unmatched', options.unmatched ?? 'fault', ['fault', 'drop', 'wait'])
    this.#owner = typeof freed === 'function' ? { owned: 0 } : freed
    this.#freed = typeof freed === 'function' ? freed : undefined
    life.outlet = this as unknown as Outlet<never>
  }

  get size(): number {
    return this.#ring.size
  }

  get linkCount(): number {
    return this.#links.list.length
  }

  /** The stage that every item goes to, if it is part of the same pipeline and has nothing to do. */
  get idleStage(): FunctionStage<unknown, unknown> | undefined {
    const direct = this.#direct
    if (direct === undefined || direct.limited || this.#ring.size > 0) return undefined
    const { target } = direct
    const { stage } = target
    if (stage === undefined || !target.free || !stage.idle || !target.life.task.sharesContext(this.life.task))
      return undefined
    return stage as unknown as FunctionStage<unknown, unknown>
  }

  /** Whether `emit` calls no function of the user: a batch may have its items weighed. */
  get silent(): boolean {
    return this.#direct === undefined || this.#direct.target.stage !== undefined
  }

  /** An output arises on a caller's stack: no link is asked. */
  push(item: O): void {
    this.#ring.push(item)
    if (this.#links.list.length === 0) this.#serveTakers()
    else this.life.task.schedule()
  }

  /** An output arises in the block's own task, which calls `deliver` afterwards. */
  emit(item: O): void {
    const direct = this.#direct
    if (direct === undefined || this.#ring.size > 0 || !direct.target.free || !direct.target.take(item)) {
      this.#ring.push(item)
      return
    }
    this.#number++
    this.#leaves(item)
    direct.count()
  }

  /** Offers the head until nobody takes it. In the block's own task only: `where` is called here. */
  deliver(): void {
    const ring = this.#ring
    const { task } = this.life
    while (ring.size > 0 && !this.life.failed) {
      if (task.spent()) return
      const outcome = this.#offerHead(ring.at(0))
      if (outcome === 'taken') continue
      if (this.life.failed) return
      this.#offered = this.#number
      if (this.takers.waiting) {
        this.takers.give(this.#shift())
        continue
      }
      const hinted = this.takers.wake()
      if (hinted) this.#hintedAt = this.#number
      if (outcome === 'refused' && !this.#judgeUnmatched()) continue
      this.#watchForStall()
      return
    }
  }

  /** Drops everything and says how much that was. */
  drop(): number {
    const count = this.#ring.size
    this.#ring.clear()
    this.#number += count
    this.#stopWatching()
    return count
  }

  /** The outputs, oldest first, in place. */
  at(offset: number): O {
    return this.#ring.at(offset)
  }

  addLink(target: Intake<O>, options: LinkOptions<O>): LinkState<O> {
    settleCounts()
    const link = this.#links.add(this, target, options)
    this.#findDirect()
    if (this.life.ended || this.#ring.size > 0) this.life.task.schedule()
    return link
  }

  removeLink(link: LinkState<O>): void {
    this.#links.remove(link)
    this.#findDirect()
    // Who waits behind the links may have the head now.
    if (this.#ring.size > 0) this.life.task.schedule()
  }

  turn(link: LinkState<O>): void {
    if (!this.hasFor(link, 0) || (link !== this.#direct && this.#offered !== this.#number)) {
      // Another head than the one it waited with: the block's own task has to ask all links, in their order.
      if (this.#ring.size > 0) this.life.task.schedule()
      return
    }
    const ring = this.#ring
    const { target } = link
    do {
      const item = ring.at(0)
      if (!target.take(item)) break
      this.#removeHead()
      this.#leaves(item)
      link.count()
    } while (link === this.#direct && ring.size > 0 && target.free)
    this.life.task.schedule()
  }

  hasFor(link: LinkState<O>, offset: number): boolean {
    if (this.#ring.size <= offset) return false
    if (link.where === undefined) return true
    return offset === 0 && link.judged === this.#number && link.verdict
  }

  takeFor(link: LinkState<O>): O {
    const item = this.#shift()
    link.count()
    this.life.task.schedule()
    return item
  }

  peek(): O | Empty {
    settleCounts()
    return this.#ring.size === 0 ? Channel.empty : this.#ring.at(0)
  }

  tryReceive(where?: (item: O) => boolean): O | Empty {
    settleCounts()
    if (this.#ring.size === 0) return Channel.empty
    if (where !== undefined) {
      const number = this.#number
      // The function may have used the block itself.
      if (!where(this.#ring.at(0)) || number !== this.#number || this.#ring.size === 0) return Channel.empty
    }
    const item = this.#shift()
    if (this.#ring.size === 0) this.#withdraw()
    else if (this.#links.list.length > 0) this.life.task.schedule()
    this.life.left()
    return item
  }

  takeAvailable(max: number): O[] {
    const items: O[] = []
    while (items.length < max && this.#ring.size > 0) items.push(this.tryReceive() as O)
    return items
  }

  takeNow(): O | Empty {
    return this.takers.waiting ? Channel.empty : this.tryReceive()
  }

  receive(options: WaitOptions | undefined): Promise<O> {
    settleCounts()
    const signal = options?.signal
    if (signal?.aborted) return Promise.reject(signal.reason)
    const item = this.takeNow()
    if (item !== Channel.empty) return tell(item)
    if (this.life.ended) return Promise.reject(this.life.closedError())
    return this.takers.receive(signal)
  }

  waitToReceive(options: WaitOptions | undefined): Promise<boolean> {
    settleCounts()
    const signal = options?.signal
    if (signal?.aborted) return Promise.reject(signal.reason)
    if (this.#ring.size > 0) {
      this.#hintedAt = this.#number
      return tell(true)
    }
    if (this.life.ended) return this.life.failed ? Promise.reject(this.life.error) : Promise.resolve(false)
    return this.takers.hint(signal)
  }

  receiveAll(options: WaitOptions | undefined): AsyncIterableIterator<O> {
    return new ItemIterator(this, options)
  }

  end(): void {
    this.#stopWatching()
    this.#links.tell(this)
    this.takers.end()
  }

  serveLate(): void {
    this.#links.tell(this)
  }

  /** Asks the links in their order. `refused`: there are links, and the `where` of every one said no. */
  #offerHead(item: O): 'taken' | 'waits' | 'refused' {
    const number = this.#number
    const links = this.#links.list
    let refused = links.length > 0
    for (const link of links) {
      if (!link.active) continue
      if (link.where !== undefined) {
        if (link.judged !== number && !this.#judge(link, item, number)) return 'waits'
        if (!link.verdict) continue
      }
      refused = false
      const outcome = link.target.offer(item, link)
      if (outcome === 'taken') {
        this.#removeHead()
        this.#leaves(item)
        link.count()
        return 'taken'
      }
    }
    return refused ? 'refused' : 'waits'
  }

  /** Calls `where`. False: the head is no longer what it was, or the block has failed. */
  #judge(link: LinkState<O>, item: O, number: number): boolean {
    try {
      link.verdict = (link.where as (item: O) => boolean)(item)
      link.judged = number
    } catch (error) {
      this.life.faultWith(error, item)
      return false
    }
    if (number === this.#number && link.active) return true
    // The function has taken the head or cut the link: begin again with what is there now.
    this.life.task.schedule()
    return false
  }

  /** Every link has refused the head. True: it stays where it is. */
  #judgeUnmatched(): boolean {
    if (this.#unmatched === 'wait') return true
    if (this.#hintedAt === this.#number) {
      // Somebody has been told that an item is there, and gets one turn to come for it.
      const number = this.#number
      nextTurn(() => {
        if (this.#hintedAt === number) this.#hintedAt = -1
        this.life.task.schedule()
      })
      return true
    }
    const item = this.#ring.at(0)
    const block = this.life.name
    if (unmatchedChannel.hasSubscribers) unmatchedChannel.publish({ block, item, policy: this.#unmatched })
    if (this.#unmatched === 'fault') {
      this.life.faultWith(new UnmatchedItemError(block, item), item)
      return true
    }
    this.#removeHead()
    this.life.discarded++
    this.#free(item)
    return false
  }

  #serveTakers(): void {
    while (this.#ring.size > 0 && this.takers.waiting) this.takers.give(this.#shift())
    if (this.#ring.size === 0) return
    this.takers.wake()
    this.#watchForStall()
  }

  #shift(): O {
    const item = this.#ring.at(0)
    this.#removeHead()
    this.#leaves(item)
    return item
  }

  #removeHead(): void {
    this.#ring.shift()
    this.#number++
  }

  #leaves(item: O): void {
    this.life.delivered++
    this.#free(item)
  }

  #free(item: O): void {
    if (this.#freed === undefined) this.#owner.owned--
    else this.#freed(item)
  }

  /** Nothing is left to give: links that stand in a line would only hold others up. */
  #withdraw(): void {
    for (const link of this.#links.list) if (link.line !== undefined) link.leave()
  }

  #findDirect(): void {
    const [only] = this.#links.list
    this.#direct = this.#links.list.length === 1 && only?.where === undefined ? only : undefined
  }

  #watchForStall(): void {
    if (!stalledChannel.hasSubscribers || this.#stallTimer !== undefined || this.#stalledAt === this.#number) return
    const number = this.#number
    this.#stallTimer = this.life.clock.setTimeout(() => {
      this.#stallTimer = undefined
      if (number !== this.#number) {
        if (this.#ring.size > 0) this.#watchForStall()
        return
      }
      this.#stalledAt = number
      stalledChannel.publish({ block: this.life.name, outputCount: this.#ring.size, forMs: stalledAfterMs })
    }, stalledAfterMs)
    // Watching keeps no process alive.
    const timer = this.#stallTimer as { unref?: () => void } | undefined
    timer?.unref?.()
  }

  #stopWatching(): void {
    if (this.#stallTimer === undefined) return
    this.life.clock.clearTimeout(this.#stallTimer)
    this.#stallTimer = undefined
  }
}
