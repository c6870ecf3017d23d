import type { Empty, WaitOptions } from '../channels/index.ts'
import type { LinkOptions } from './block.ts'
import type { Intake } from './intake.ts'
import type { Life } from './life.ts'
import type { LinkState } from './link-state.ts'
import type { Takers } from './takers.ts'

/** The giving side of a block. Two kinds: `QueueOutlet` gives each item to one taker, `LatestOutlet` to every link. */
export interface Outlet<O> {
  readonly life: Life
  /** Those who wait for an item. */
  readonly takers: Takers<O>
  readonly size: number
  readonly linkCount: number

  addLink(target: Intake<O>, options: LinkOptions<O>): LinkState<O>
  removeLink(link: LinkState<O>): void
  /** The target has room and it is this link's turn. Calls no function of the user. */
  turn(link: LinkState<O>): void
  /** Whether the link could give an item now, after `offset` others have left. Calls no function of the user. */
  hasFor(link: LinkState<O>, offset: number): boolean
  /** Gives the item `hasFor` spoke of; only with `offset` 0. */
  takeFor(link: LinkState<O>): O

  /** The item `tryReceive` would take, left in place. */
  peek(): O | Empty
  tryReceive(where?: (item: O) => boolean): O | Empty
  takeAvailable(max: number): O[]
  receive(options: WaitOptions | undefined): Promise<O>
  waitToReceive(options: WaitOptions | undefined): Promise<boolean>
  receiveAll(options: WaitOptions | undefined): AsyncIterableIterator<O>

  /** The block has ended: tells links and callers. */
  end(): void
  /** Work of the block's task after its end: links made late. */
  serveLate(): void
}
