import type { Target } from './block.ts'
import { TargetFace } from './faces.ts'
import { Intake } from './intake.ts'
import { Life } from './life.ts'

class NullTarget<T> extends TargetFace<T> {
  constructor() {
    const life = new Life('null', {}, { work() {}, drop: () => 0, running: () => 0, empty: () => false })
    // Links tell their ends and failures to the life: this one hears nothing.
    life.complete = () => life.completion
    life.fault = () => {}
    const intake = new Intake<T>(
      life,
      {
        accept() {
          intake.owned--
          life.delivered++
          return true
        },
        complete() {},
      },
      { capacity: Number.POSITIVE_INFINITY },
    )
    super({ life, inputCount: () => 0, running: () => 0 }, intake)
  }

  /** It has nothing to wait for. */
  override async [Symbol.asyncDispose](): Promise<void> {}
}

/** Takes everything and keeps nothing. `complete` and `fault` do nothing; `completion` never settles. */
export function nullTarget<T = unknown>(): Target<T> {
  return new NullTarget<T>()
}

export function isNullTarget(target: unknown): boolean {
  return target instanceof NullTarget
}
