import { TargetFace } from './faces.ts'
import { FunctionStage } from './function-stage.ts'
import { Life } from './life.ts'
import type { FunctionOptions, RunContext } from './options.ts'
import { refuseOptions } from './options.ts'
import type { Results } from './results.ts'

/** Calls a function for each item and gives nothing on. Source: spec dataflow 2.2. */
export class ActionBlock<I> extends TargetFace<I> {
  readonly #stage: FunctionStage<I, never>

  constructor(fn: (item: I, context: RunContext) => unknown, options: FunctionOptions<I> = {}) {
    refuseOptions('action', options, ['unmatched'])
    const life = new Life('action', options, {
      work() {
        stage.work()
        stage.intake.serve(stage.ring.size)
      },
      drop: () => stage.drop(),
      running: () => stage.running,
      empty: () => stage.inputCount === 0,
    })
    const finished = (): void => {
      stage.intake.owned--
      life.delivered++
    }
    const results: Results<I, never> = {
      mayStart: true,
      place() {},
      value() {
        finished()
        return true
      },
      nothing: () => void stage.intake.owned--,
    }
    const stage = new FunctionStage(life, fn, options, results)
    stage.goStraight({})
    super({ life, inputCount: () => stage.inputCount, running: () => stage.running }, stage.intake)
    this.#stage = stage
    life.begin()
  }

  /** Changes `parallel`. Takes effect at once; running functions are not stopped. */
  setParallel(parallel: number): void {
    this.#stage.setParallel(parallel)
  }
}
