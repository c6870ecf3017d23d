import type { Expansion, Many } from './expansion.ts'
import { Expansions } from './expansions.ts'
import { PropagatorFace } from './faces.ts'
import { FunctionStage } from './function-stage.ts'
import { Life } from './life.ts'
import { capacityFor, type FunctionOptions, type RunContext } from './options.ts'
import { QueueOutlet } from './queue-outlet.ts'

/**
 * Calls a function for each item and gives on whatever it gives: arrays, iterables, async iterables, promises of them,
 * or nothing. Iterators are pulled lazily and may be endless: each is paused while `capacity` of its own outputs are in
 * the block, and closed when the block fails. Source: spec dataflow 2.2.
 */
export class TransformManyBlock<I, O> extends PropagatorFace<I, O> {
  readonly #stage: FunctionStage<I, Expansion<I, O>>

  constructor(fn: (item: I, context: RunContext) => Many<O> | Promise<Many<O>>, options: FunctionOptions<I> = {}) {
    const life = new Life('transform-many', options, {
      work() {
        outlet.deliver()
        expansions.work()
        stage.work()
        outlet.deliver()
        stage.intake.serve(stage.ring.size)
      },
      drop: () => stage.drop() + outlet.drop() + expansions.drop(),
      running: () => stage.running,
      empty: () => stage.inputCount === 0 && outlet.size === 0 && expansions.empty,
    })
    const outlet = new QueueOutlet<O>(life, options, () => expansions.freed())
    const capacity = capacityFor(options)
    const expansions = new Expansions<I, O>(life, { capacity, ordered: options.ordered ?? true })
    const stage = new FunctionStage(life, fn, options, expansions)
    expansions.stage = stage
    expansions.outlet = outlet
    super({ life, inputCount: () => stage.inputCount, running: () => stage.running }, stage.intake, outlet)
    this.#stage = stage
    life.begin()
  }

  /** Changes `parallel`. Takes effect at once; running functions and iterators are not stopped. */
  setParallel(parallel: number): void {
    this.#stage.setParallel(parallel)
  }
}
