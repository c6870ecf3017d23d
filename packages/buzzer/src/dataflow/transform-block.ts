import { Channel, type Empty } from '../channels/index.ts'
import type { Call } from './call.ts'
import { PropagatorFace } from './faces.ts'
import { FunctionStage } from './function-stage.ts'
import { Life } from './life.ts'
import type { FunctionOptions, RunContext } from './options.ts'
import { OrderedPlaces } from './ordered-places.ts'
import { QueueOutlet } from './queue-outlet.ts'
import type { Results, Straight } from './results.ts'

/**
 * Calls a function for each item and gives its result on: in input order, unless `ordered` is false. `Channel.empty`
 * means no output; `undefined` is a value like any other. Source: spec dataflow 2.2.
 */
export class TransformBlock<I, O> extends PropagatorFace<I, O> {
  readonly #stage: FunctionStage<I, never>

  constructor(fn: (item: I, context: RunContext) => O | Empty | Promise<O | Empty>, options: FunctionOptions<I> = {}) {
    const life = new Life('transform', options, {
      work() {
        outlet.deliver()
        stage.work()
        outlet.deliver()
        stage.intake.serve(stage.ring.size)
      },
      drop: () => stage.drop() + outlet.drop() + places.drop(),
      running: () => stage.running,
      empty: () => stage.inputCount === 0 && outlet.size === 0 && places.empty,
    })
    const ordered = options.ordered ?? true
    const places: OrderedPlaces<O> = new OrderedPlaces<O>(value => outlet.emit(value))
    const vacate = (call: Call<I, never>): void => {
      stage.intake.owned--
      if (ordered) places.vacate(call)
    }
    const results: Results<I, never> = {
      mayStart: true,
      place(call) {
        if (ordered) places.take(call)
      },
      value(call, value) {
        if (value === Channel.empty) vacate(call)
        else if (ordered) places.fill(call, value as O)
        else outlet.emit(value as O)
        return true
      },
      nothing: vacate,
    }
    const stage: FunctionStage<I, never> = new FunctionStage(life, fn, options, results)
    const outlet: QueueOutlet<O> = new QueueOutlet<O>(life, options, stage.intake)
    stage.goStraight({ outlet, ...(ordered ? { places } : {}) } as unknown as Straight)
    super({ life, inputCount: () => stage.inputCount, running: () => stage.running }, stage.intake, outlet)
    this.#stage = stage
    life.begin()
  }

  /** Changes `parallel`. Takes effect at once; running functions are not stopped. */
  setParallel(parallel: number): void {
    this.#stage.setParallel(parallel)
  }
}
