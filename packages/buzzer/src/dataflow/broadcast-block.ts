import type { ChannelReader } from '../channels/index.ts'
import { PropagatorFace } from './faces.ts'
import { Intake } from './intake.ts'
import { LatestOutlet } from './latest-outlet.ts'
import { Life } from './life.ts'
import { type BlockOptions, capacityFor, checkFunction, checkOneOf, refuseOptions } from './options.ts'
import { Ring } from './ring.ts'
import { subscribe, subscribedReader } from './subscription.ts'

export interface BroadcastOptions<T> extends BlockOptions {
  /** Called once per receiver. Default: the item itself. */
  clone?: (item: T) => T
  /**
   * `'all'`: every link gets every item, the slowest sets the pace; `'latest'`: a slow link misses what lies between.
   * Default `'all'`.
   */
  delivery?: 'all' | 'latest'
}

/**
 * Gives every item to every link, and keeps the latest: receiving does not remove it, and a new link gets it first.
 * Iterating, and `asReader`, subscribe. Source: spec dataflow 2.5.
 */
export class BroadcastBlock<T> extends PropagatorFace<T, T> {
  constructor(options: BroadcastOptions<T> = {}) {
    refuseOptions('broadcast', options, ['unmatched'])
    const all = checkOneOf('delivery', options.delivery ?? 'all', ['all', 'latest']) === 'all'
    const input = new Ring<T>()
    /** 'all': the latest item counts until every link has taken or refused it. */
    let underWay = false
    const next = (item: T): void => {
      outlet.set(item)
      if (all) underWay = true
      else intake.owned--
    }
    const life = new Life('broadcast', options, {
      work() {
        outlet.deliver()
        for (;;) {
          if (life.failed || (all && outlet.owed)) break
          if (underWay) {
            underWay = false
            intake.owned--
          }
          if (input.size === 0 || life.task.spent()) break
          next(input.shift())
          outlet.deliver()
        }
        intake.serve()
      },
      drop() {
        const dropped = input.size + (outlet.owed ? 1 : 0)
        input.clear()
        outlet.drop()
        return dropped
      },
      running: () => 0,
      empty: () => input.size === 0 && !outlet.owed,
    })
    const outlet = new LatestOutlet<T>(life, {
      clone: options.clone === undefined ? undefined : checkFunction('clone', options.clone),
      forEver: false,
      subscribe: wait => subscribe(this, wait),
    })
    const intake = new Intake<T>(
      life,
      {
        accept(item) {
          if (input.size === 0 && outlet.linkCount === 0 && !outlet.takers.waiting) {
            // Delivered to nobody: it just becomes the latest.
            outlet.set(item)
            intake.owned--
          } else {
            input.push(item)
            life.task.schedule()
          }
          return true
        },
      },
      { capacity: capacityFor(options) },
    )
    super({ life, inputCount: () => input.size, running: () => 0 }, intake, outlet)
    life.begin()
  }

  /** A subscription of its own: its reader gets every item from the latest on. */
  override asReader(): ChannelReader<T> {
    return subscribedReader(this)
  }
}
