import { PropagatorFace } from './faces.ts'
import { Intake } from './intake.ts'
import { Life } from './life.ts'
import { type BlockOptions, capacityFor } from './options.ts'
import { QueueOutlet } from './queue-outlet.ts'

/** A queue: what comes in goes out, in order, each item to exactly one taker. Source: spec dataflow 1 and 2.3. */
export class BufferBlock<T> extends PropagatorFace<T, T> {
  constructor(options: BlockOptions = {}) {
    const life = new Life('buffer', options, {
      work() {
        outlet.deliver()
        intake.serve()
      },
      drop: () => outlet.drop(),
      running: () => 0,
      empty: () => outlet.size === 0,
    })
    const intake = new Intake<T>(
      life,
      {
        accept(item) {
          outlet.push(item)
          return true
        },
      },
      { capacity: capacityFor(options) },
    )
    const outlet = new QueueOutlet<T>(life, options, intake)
    super({ life, inputCount: () => 0, running: () => 0 }, intake, outlet)
    life.begin()
  }
}
