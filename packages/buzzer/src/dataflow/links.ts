import type { LinkOptions } from './block.ts'
import type { Intake } from './intake.ts'
import { LinkState } from './link-state.ts'
import type { Outlet } from './outlet.ts'

/** The outgoing links of a block in the order in which they are asked. */
export class Links<O> {
  /** Replaced, never changed: a function of the user may link and unlink while they are asked. */
  list: readonly LinkState<O>[] = []

  /** A link that is not active when the target takes no more. */
  add(source: Outlet<O>, target: Intake<O>, options: LinkOptions<O>): LinkState<O> {
    const link = new LinkState(source, target, options)
    if (target.open) {
      target.incoming.add(link)
      this.list = options.prepend === true ? [link, ...this.list] : [...this.list, link]
      return link
    }
    link.active = false
    const { life } = target
    if (link.propagate === 'both' && life.failed) queueMicrotask(() => source.life.fault(life.error, life.faults[0]))
    return link
  }

  remove(link: LinkState<O>): void {
    this.list = this.list.filter(each => each !== link)
  }

  /** Tells every link how the block has ended. They are gone afterwards. */
  tell(source: Outlet<O>): void {
    const failure = source.life.failed ? source.life.faults[0] : undefined
    for (const link of this.list) if (link.active) link.tell(failure)
  }
}
