import type { ChannelReader } from '../channels/index.ts'
import type { BroadcastOptions } from './broadcast-block.ts'
import { PropagatorFace } from './faces.ts'
import { Intake } from './intake.ts'
import { LatestOutlet } from './latest-outlet.ts'
import { Life } from './life.ts'
import { checkFunction, refuseOptions } from './options.ts'
import { subscribe, subscribedReader } from './subscription.ts'

/**
 * Takes one item, declines all others, completes at once, and serves the item for ever: to every receiver, and to every
 * link, made before or after. Source: spec dataflow 2.5.
 */
export class WriteOnceBlock<T> extends PropagatorFace<T, T> {
  constructor(options: Omit<BroadcastOptions<T>, 'delivery' | 'capacity'> = {}) {
    refuseOptions('write-once', options, ['unmatched', 'delivery', 'capacity'])
    let offered = true
    const life = new Life('write-once', options, {
      work() {
        outlet.deliver()
        offered = true
      },
      drop() {
        const dropped = outlet.size
        outlet.drop()
        return dropped
      },
      running: () => 0,
      // The end is told after the links have been offered the item.
      empty: () => offered,
    })
    const outlet = new LatestOutlet<T>(life, {
      clone: options.clone === undefined ? undefined : checkFunction('clone', options.clone),
      forEver: true,
      subscribe: wait => subscribe(this, wait),
    })
    const intake = new Intake<T>(
      life,
      {
        accept(item) {
          offered = false
          outlet.set(item)
          life.task.schedule()
          void life.complete()
          return true
        },
      },
      { capacity: 1 },
    )
    super({ life, inputCount: () => 0, running: () => 0 }, intake, outlet)
    life.begin()
  }

  /** A subscription of its own: its reader gets the one item, then the end. */
  override asReader(): ChannelReader<T> {
    return subscribedReader(this)
  }
}
