import type { Inlet } from './block.ts'
import { SourceFace } from './faces.ts'
import { Intake } from './intake.ts'
import { JoinInlet } from './join-inlet.ts'
import { Life } from './life.ts'
import { capacityFor, checkInteger, type GroupOptions, refuseOptions } from './options.ts'
import { QueueOutlet } from './queue-outlet.ts'

/**
 * Gathers the items of several inputs until `size` of all together are there, and gives one array per input. When all
 * inputs are complete it gives what is left. Source: spec dataflow 2.4 and 2.5.
 */
export class BatchedJoinBlock<T extends readonly unknown[]> extends SourceFace<{ [K in keyof T]: T[K][] }> {
  /** The inputs, in the order of the arrays. */
  readonly targets: { readonly [K in keyof T]: Inlet<T[K]> }

  constructor(size: number, arity: T['length'], options: Omit<GroupOptions, 'greedy'> = {}) {
    checkInteger('size', size)
    checkInteger('arity', arity)
    refuseOptions('batched join', options, ['greedy'])
    const capacity = capacityFor(options, size)
    const maxGroups =
      options.maxGroups === undefined ? Number.POSITIVE_INFINITY : checkInteger('maxGroups', options.maxGroups)
    const fresh = (): unknown[][] => Array.from({ length: arity }, () => [])
    let lists = fresh()
    let count = 0
    let groups = 0

    const cut = (): void => {
      if (count === 0) return
      const full = lists
      lists = fresh()
      count = 0
      outlet.push(full as unknown as { [K in keyof T]: T[K][] })
      if (++groups === maxGroups) void life.complete()
    }
    const queued = (): number => {
      let items = 0
      for (let index = 0; index < outlet.size; index++) items += itemsIn(outlet.at(index))
      return items
    }

    const life = new Life('batched-join', options, {
      work() {
        outlet.deliver()
        for (const intake of intakes) intake.serve()
      },
      closing: cut,
      drop() {
        const dropped = count + queued()
        lists = fresh()
        count = 0
        outlet.drop()
        return dropped
      },
      running: () => 0,
      empty: () => count === 0 && outlet.size === 0,
    })
    const outlet = new QueueOutlet<{ [K in keyof T]: T[K][] }>(life, options, group => {
      const left = group as unknown as readonly unknown[][]
      intakes.forEach((intake, index) => {
        intake.owned -= left[index]?.length ?? 0
      })
    })
    const intakes: Intake<unknown>[] = Array.from({ length: arity }, (_, index) => {
      const intake: Intake<unknown> = new Intake<unknown>(
        life,
        {
          accept(item) {
            lists[index]?.push(item)
            if (++count === size) cut()
            return true
          },
          complete() {
            intake.close()
            if (intakes.every(each => !each.open)) void life.complete()
          },
        },
        { name: `${life.name}[${index}]`, capacity },
      )
      return intake
    })
    super({ life, inputCount: () => count, running: () => 0 }, outlet)
    this.targets = intakes.map(intake => new JoinInlet(intake)) as unknown as typeof this.targets
    life.begin()
  }
}

function itemsIn(group: readonly unknown[][]): number {
  return group.reduce((sum, list) => sum + list.length, 0)
}
