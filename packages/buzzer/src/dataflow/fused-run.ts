import { Channel } from '../channels/index.ts'
import type { FunctionStage } from './function-stage.ts'
import { beginUnsettled, endUnsettled } from './settle-counts.ts'
import { isThenable } from './thenable.ts'
import type { RunContext } from './options.ts'
import type { QueueOutlet } from './queue-outlet.ts'

// oxlint-disable-next-line typescript/no-explicit-any -- stages of one line, each with item types of its own
type AnyStage = FunctionStage<any, any>

/**
 * Neighbouring stages of a pipeline, all idle and synchronous, run as one loop: an item goes through all of them before
 * the next one starts, and no ring is touched between. Counts are kept for the whole run and put in place when it ends,
 * or as soon as a function looks at, or changes, any block: see settle-counts.ts.
 */
class FusedRun {
  readonly stages: readonly AnyStage[]
  /** Items that have gone through all stages. */
  passed = 0
  /** Items of which nothing came, by the stage that said so. */
  readonly ended: number[]
  /** The stage whose function is on the stack. */
  at = 0
  settled = false

  constructor(stages: readonly AnyStage[]) {
    this.stages = stages
    this.ended = stages.map(() => 0)
  }

  /** Puts the counts in place, as if every item had gone from block to block. */
  settle(): void {
    let reached = this.passed
    for (let index = this.stages.length - 1; index >= 0; index--) {
      const { life } = this.stages[index] as AnyStage
      // What the last stage gives is counted where it leaves, unless it gives nothing.
      if (index < this.stages.length - 1 || outletOf(this.stages[index] as AnyStage) === undefined)
        life.delivered += reached
      reached += this.ended[index] as number
      if (index > 0) life.accepted += reached
    }
    const [first] = this.stages as [AnyStage]
    first.intake.owned -= reached
  }

  /** The same in the middle of an item: it is now where it would be, running in the stage `at`. */
  settleMidway(): void {
    endUnsettled()
    this.settled = true
    this.settle()
    const stage = this.stages[this.at] as AnyStage
    stage.running++
    if (this.at === 0) return
    for (let index = 0; index < this.at; index++) (this.stages[index] as AnyStage).life.delivered++
    for (let index = 1; index <= this.at; index++) (this.stages[index] as AnyStage).life.accepted++
    ;(this.stages[0] as AnyStage).intake.owned--
    stage.intake.owned++
  }
}

function outletOf(stage: AnyStage): QueueOutlet<unknown> | undefined {
  return stage.straight?.outlet
}

/** The stages from `first` on that can run as one loop now; `undefined` when there are not two. */
export function fusable(first: AnyStage): readonly AnyStage[] | undefined {
  const stages = [first]
  let outlet = outletOf(first)
  while (outlet !== undefined) {
    const next = outlet.idleStage
    if (next === undefined) break
    stages.push(next)
    outlet = outletOf(next)
  }
  // The last one's outputs must not call anybody on their way out.
  return stages.length > 1 && (outlet === undefined || outlet.silent) ? stages : undefined
}

/** Sends items through all stages, as many as the turn allows, and says how many that were. */
export function runFused(stages: readonly AnyStage[]): number {
  const run = new FusedRun(stages)
  const depth = stages.length
  const { ring, life } = stages[0] as AnyStage
  const last = stages[depth - 1] as AnyStage
  const fns = stages.map(stage => stage.fn)
  const contexts = stages.map(stage => stage.context)
  const outlet = outletOf(last)
  beginUnsettled(run)
  let taken = 0
  let allowed = 0
  while (ring.size > 0) {
    if (outlet !== undefined && last.intake.owned >= last.intake.capacity) break
    if (allowed === 0) {
      allowed = life.task.allowance()
      if (allowed === 0) break
    }
    allowed--
    taken++
    let value: unknown = ring.shift()
    let index = 0
    for (; index < depth; index++) {
      const item = value
      run.at = index
      try {
        value = (fns[index] as AnyStage['fn'])(item, contexts[index] as RunContext)
      } catch (error) {
        if (!run.settled) run.settleMidway()
        life.task.handBack(allowed)
        ;(stages[index] as AnyStage).failed(item, error)
        return taken
      }
      if (run.settled || isThenable(value)) {
        if (!run.settled) run.settleMidway()
        life.task.handBack(allowed)
        ;(stages[index] as AnyStage).conclude(item, value)
        return taken
      }
      if (value === Channel.empty) {
        ;(run.ended[index] as number)++
        break
      }
    }
    if (index < depth) continue
    run.passed++
    if (outlet === undefined) continue
    last.intake.owned++
    outlet.emit(value)
  }
  life.task.handBack(allowed)
  endUnsettled()
  run.settle()
  return taken
}
