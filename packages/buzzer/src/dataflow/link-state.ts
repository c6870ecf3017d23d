import type { Fault, Link, LinkOptions } from './block.ts'
import { settleCounts } from './settle-counts.ts'
import type { Intake } from './intake.ts'
import { Waiter } from './line.ts'
import { checkFunction, checkInteger, checkOneOf } from './options.ts'
import type { Outlet } from './outlet.ts'

/**
 * A link as both its ends see it. It stands in the target's line while an item of its source waits for room there.
 */
export class LinkState<O> extends Waiter implements Link {
  readonly source: Outlet<O>
  readonly target: Intake<O>
  readonly where: ((item: O) => boolean) | undefined
  readonly propagate: 'both' | 'forward' | 'none'
  active = true
  /** The number of the item that `where` has judged last, and its verdict: every item is judged once. */
  judged = -1
  verdict = true
  /** Used by sources that give every item to all links: whether this one has still to get the latest. */
  owed = false
  /** Items until the link goes; 0: no limit. */
  #left: number

  constructor(source: Outlet<O>, target: Intake<O>, options: LinkOptions<O>) {
    super()
    this.source = source
    this.target = target
    this.where = options.where === undefined ? undefined : checkFunction('where', options.where)
    this.propagate = checkOneOf('propagate', options.propagate ?? 'both', ['both', 'forward', 'none'])
    this.#left = options.max === undefined ? 0 : checkInteger('max', options.max)
  }

  /** Whether it goes after some number of items. */
  get limited(): boolean {
    return this.#left !== 0
  }

  /** The target has accepted an item. */
  count(): void {
    if (this.#left !== 0 && --this.#left === 0) this.unlink()
  }

  unlink(): void {
    settleCounts()
    if (!this.active) return
    this.detach()
    this.target.linkGone()
  }

  /** Takes the link away from both ends without telling anybody. */
  detach(): void {
    this.active = false
    this.owed = false
    this.leave()
    this.target.incoming.delete(this)
    this.source.removeLink(this)
  }

  /** The source has ended. */
  tell(failure: Fault | undefined): void {
    this.detach()
    if (this.propagate === 'none') return
    if (failure === undefined) this.target.told()
    else this.target.life.fault(failure.error, failure)
  }

  [Symbol.dispose](): void {
    this.unlink()
  }
}
