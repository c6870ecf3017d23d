import type { Inlet } from './block.ts'
import { SourceFace } from './faces.ts'
import { type Candidate, nextCandidate, type Spoken, takeFrom } from './groups.ts'
import { Intake } from './intake.ts'
import { JoinInlet } from './join-inlet.ts'
import { Life } from './life.ts'
import { capacityFor, checkInteger, type GroupOptions } from './options.ts'
import { QueueOutlet } from './queue-outlet.ts'
import { Ring } from './ring.ts'

interface Input {
  readonly intake: Intake<unknown>
  readonly items: Ring<unknown>
}

/**
 * Makes tuples, one item of each input. Ends as soon as an input that is complete has run empty, because no tuple can
 * follow: what other inputs hold is discarded and counted. Source: spec dataflow 2.4 and 2.5.
 */
export class JoinBlock<T extends readonly unknown[]> extends SourceFace<T> {
  /** The inputs, in the order of the tuple. */
  readonly targets: { readonly [K in keyof T]: Inlet<T[K]> }

  constructor(arity: T['length'], options: GroupOptions = {}) {
    checkInteger('arity', arity)
    const greedy = options.greedy ?? true
    const capacity = capacityFor(options)
    const maxGroups =
      options.maxGroups === undefined ? Number.POSITIVE_INFINITY : checkInteger('maxGroups', options.maxGroups)
    let groups = 0

    const give = (tuple: unknown[]): void => {
      outlet.push(tuple as unknown as T)
      if (++groups === maxGroups) void life.complete()
    }
    const matchHeld = (): void => {
      while (life.open && inputs.every(({ items }) => items.size > 0)) give(inputs.map(({ items }) => items.shift()))
    }
    /** All candidates or none, in one step. */
    const matchWaiting = (): void => {
      while (life.open && inputs.every(({ intake }) => intake.owned < intake.capacity)) {
        const spoken: Spoken = new Map()
        const found: Candidate<unknown>[] = []
        for (const { intake } of inputs) {
          const candidate = nextCandidate(intake.line.head, spoken)
          if (candidate === undefined) return
          found.push(candidate)
        }
        give(found.map((candidate, index) => takeFrom((inputs[index] as Input).intake, candidate)))
        endIfDone()
      }
    }
    const endIfDone = (): void => {
      if (inputs.some(({ intake, items }) => !intake.open && items.size === 0)) void life.complete()
    }
    const dropHeld = (): number => {
      let dropped = 0
      for (const { intake, items } of inputs) {
        dropped += items.size
        intake.owned -= items.size
        items.clear()
      }
      return dropped
    }
    const held = (): number => inputs.reduce((sum, { items }) => sum + items.size, 0)

    const life = new Life('join', options, {
      work() {
        outlet.deliver()
        if (greedy) for (const { intake } of inputs) intake.serve()
        else matchWaiting()
      },
      closing() {
        const dropped = dropHeld()
        life.discarded += dropped
      },
      drop: () => dropHeld() + outlet.drop() * arity,
      running: () => 0,
      empty: () => outlet.size === 0,
    })
    const outlet = new QueueOutlet<T>(life, options, () => {
      for (const { intake } of inputs) intake.owned--
    })
    const inputs: Input[] = Array.from({ length: arity }, (_, index) => {
      const items = new Ring<unknown>()
      const intake: Intake<unknown> = new Intake<unknown>(
        life,
        {
          accept(item) {
            items.push(item)
            matchHeld()
            endIfDone()
            return true
          },
          candidate: () => life.task.schedule(),
          complete() {
            intake.close()
            endIfDone()
          },
        },
        { name: `${life.name}[${index}]`, capacity, greedy },
      )
      return { intake, items }
    })
    super({ life, inputCount: held, running: () => 0 }, outlet)
    this.targets = inputs.map(({ intake }) => new JoinInlet(intake)) as unknown as typeof this.targets
    life.begin()
  }
}
