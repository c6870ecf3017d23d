import { PropagatorFace } from './faces.ts'
import { formGroup } from './groups.ts'
import { Intake } from './intake.ts'
import { Life } from './life.ts'
import {
  type BatchOptions,
  capacityFor,
  checkFunction,
  checkInteger,
  checkMs,
  checkPositive,
  refuseOptions,
} from './options.ts'
import { QueueOutlet } from './queue-outlet.ts'

/**
 * Gathers items into arrays of `size`, or fewer when time, weight, `triggerBatch` or the end cut them short. Greedy:
 * groups synchronously. Non-greedy: takes items only when a batch is complete, in one step. Source: spec dataflow 2.5.
 */
export class BatchBlock<T> extends PropagatorFace<T, T[]> {
  readonly #trigger: () => void

  constructor(size: number, options: BatchOptions<T> = {}) {
    checkInteger('size', size)
    const greedy = options.greedy ?? true
    if (!greedy) refuseOptions('non-greedy batch', options, ['maxWaitMs', 'weigh', 'maxWeight'])
    const { weigh, maxWeight, maxWaitMs } = options
    if ((weigh === undefined) !== (maxWeight === undefined))
      throw new TypeError('`weigh` and `maxWeight` need each other')
    if (weigh !== undefined) checkFunction('weigh', weigh)
    if (maxWeight !== undefined) checkPositive('maxWeight', maxWeight)
    if (maxWaitMs !== undefined) checkMs('maxWaitMs', maxWaitMs)
    const maxGroups =
      options.maxGroups === undefined ? Number.POSITIVE_INFINITY : checkInteger('maxGroups', options.maxGroups)

    let batch: T[] = []
    let weight = 0
    let groups = 0
    let timer: unknown
    const stopTimer = (): void => {
      if (timer === undefined) return
      life.clock.clearTimeout(timer)
      timer = undefined
    }
    const cut = (): void => {
      if (batch.length === 0) return
      stopTimer()
      const full = batch
      batch = []
      weight = 0
      outlet.push(full)
      if (++groups === maxGroups) void life.complete()
    }
    /** What the item weighs; `undefined` when `weigh` throws, which ends the block. */
    const weighed = (item: T): number | undefined => {
      try {
        const found = (weigh as (item: T) => number)(item)
        if (found >= 0) return found
        throw new RangeError(`\`weigh\` must return a number ≥ 0, not ${String(found)}`)
      } catch (error) {
        life.faultWith(error, item)
        return undefined
      }
    }
    const add = (item: T, itemWeight: number): boolean => {
      if (batch.length > 0 && weight + itemWeight > (maxWeight as number)) {
        cut()
        if (!intake.open) return false
      }
      weight += itemWeight
      batch.push(item)
      if (batch.length === size || weight >= (maxWeight ?? Number.POSITIVE_INFINITY)) cut()
      else if (maxWaitMs !== undefined && batch.length === 1) {
        timer = life.clock.setTimeout(() => {
          timer = undefined
          cut()
        }, maxWaitMs)
      }
      return true
    }
    /** Non-greedy: makes batches of the candidates in line, the last one as short as `least`. */
    const gather = (least: number): void => {
      while (life.open) {
        const count = Math.min(size, intake.capacity - intake.owned)
        if (count < least || (least === size && count < size)) return
        const items = formGroup(intake, Math.min(least, count), count)
        if (items === undefined) return
        batch = items
        cut()
        if (least !== size) return
      }
    }

    const life = new Life('batch', options, {
      work() {
        outlet.deliver()
        if (greedy) intake.serve()
        else gather(size)
      },
      closing: cut,
      drop() {
        const dropped = batch.length + queued()
        stopTimer()
        batch = []
        outlet.drop()
        return dropped
      },
      running: () => 0,
      empty: () => batch.length === 0 && outlet.size === 0,
    })
    const outlet = new QueueOutlet<T[]>(life, options, left => void (intake.owned -= left.length))
    const queued = (): number => {
      let items = 0
      for (let index = 0; index < outlet.size; index++) items += outlet.at(index).length
      return items
    }
    const intake: Intake<T> = new Intake<T>(
      life,
      {
        callsUser: weigh !== undefined,
        accept(item): boolean {
          if (weigh === undefined) return add(item, 0)
          const itemWeight = weighed(item)
          // The function may have closed the block.
          return itemWeight !== undefined && intake.open && add(item, itemWeight)
        },
        candidate: () => life.task.schedule(),
      },
      { capacity: capacityFor(options, size), greedy },
    )
    super({ life, inputCount: () => batch.length, running: () => 0 }, intake, outlet)
    this.#trigger = greedy ? cut : () => gather(1)
    life.begin()
  }

  /** A short batch now. Nothing there: nothing happens. */
  triggerBatch(): void {
    this.#trigger()
  }
}
