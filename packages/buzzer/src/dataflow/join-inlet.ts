import type { WaitOptions } from '../channels/index.ts'
import type { Inlet } from './block.ts'
import { setIntake } from './faces.ts'
import type { Intake } from './intake.ts'

/** One input of a join: completing it says that no more comes here; faulting it fails the whole block. */
export class JoinInlet<I> implements Inlet<I> {
  readonly #intake: Intake<I>

  constructor(intake: Intake<I>) {
    this.#intake = intake
    setIntake(this, intake)
  }

  get name(): string {
    return this.#intake.name
  }

  post(item: I): boolean {
    return this.#intake.post(item)
  }

  send(item: I, options?: WaitOptions): Promise<void> {
    return this.#intake.send(item, options)
  }

  /** Returns the completion of the whole block. */
  complete(): Promise<void> {
    return this.#intake.complete()
  }

  fault(error: unknown): void {
    this.#intake.life.fault(error)
  }
}
