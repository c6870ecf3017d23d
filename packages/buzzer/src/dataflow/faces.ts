import type { ChannelReader, ChannelWriter, Empty, WaitOptions } from '../channels/index.ts'
import type { Block, BlockStats, Fault, Inlet, Link, LinkOptions, Propagator, Source, Target } from './block.ts'
import { BlockReader, BlockWriter } from './channel-halves.ts'
import { abortError } from './errors.ts'
import { settleCounts } from './settle-counts.ts'
import type { Intake } from './intake.ts'
import type { Life } from './life.ts'
import { checkCount, checkFunction } from './options.ts'
import type { Outlet } from './outlet.ts'

// The faces of the blocks: the same members on every block, each a line that passes on to the parts inside. They are the
// one place of this room with inheritance across files, because nine classes of twenty such members would be no clearer.

/** What a face needs to know. */
export interface Parts {
  readonly life: Life
  inputCount(): number
  running(): number
}

const intakes = new WeakMap<object, Intake<never>>()
const outlets = new WeakMap<object, Outlet<never>>()

/** Makes `face` something that can be linked to. */
export function setIntake<I>(face: object, intake: Intake<I>): void {
  intakes.set(face, intake as unknown as Intake<never>)
}

export function setOutlet<O>(face: object, outlet: Outlet<O>): void {
  outlets.set(face, outlet as unknown as Outlet<never>)
}

export function intakeOf<I>(inlet: Inlet<I>): Intake<I> {
  const intake = isObject(inlet) ? intakes.get(inlet) : undefined
  if (intake !== undefined) return intake as unknown as Intake<I>
  throw new TypeError(
    'only blocks of buzzer/dataflow can be linked to: reach anything else with asReader(), asWriter() or pipeline.from()',
  )
}

export function outletOf<O>(source: Source<O>): Outlet<O> {
  const outlet = isObject(source) ? outlets.get(source) : undefined
  if (outlet !== undefined) return outlet as unknown as Outlet<O>
  throw new TypeError('only blocks of buzzer/dataflow can be linked: reach anything else with pipeline.from()')
}

export function isBlockInlet(value: unknown): value is Inlet<unknown> {
  return isObject(value) && intakes.has(value)
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

abstract class BlockFace implements Block {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  get name(): string {
    return this.#parts.life.name
  }

  get completion(): Promise<void> {
    return this.#parts.life.completion
  }

  get faults(): readonly Fault[] {
    return this.#parts.life.faults
  }

  complete(): Promise<void> {
    return this.#parts.life.complete()
  }

  fault(error: unknown): void {
    this.#parts.life.fault(error)
  }

  stats(): BlockStats {
    settleCounts()
    const { life } = this.#parts
    return {
      name: life.name,
      inputCount: this.#parts.inputCount(),
      running: this.#parts.running(),
      outputCount: life.outlet?.size ?? 0,
      accepted: life.accepted,
      delivered: life.delivered,
      skipped: life.skipped,
      retried: life.retried,
      discarded: life.discarded,
      waitingSends: life.intakes.reduce((sum, intake) => sum + intake.waitingSends, 0),
      links: life.outlet?.linkCount ?? 0,
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { life } = this.#parts
    life.fault(abortError(`block "${life.name}"`))
    await life.completion.catch(() => {})
  }
}

export abstract class SourceFace<O> extends BlockFace implements Source<O> {
  readonly #outlet: Outlet<O>

  constructor(parts: Parts, outlet: Outlet<O>) {
    super(parts)
    this.#outlet = outlet
    setOutlet(this, outlet)
  }

  get outputCount(): number {
    settleCounts()
    return this.#outlet.size
  }

  link<P extends O>(target: Inlet<P>, options: LinkOptions<O> & { where: (item: O) => item is P }): Link
  link(target: Inlet<O>, options?: LinkOptions<O>): Link
  link(target: Inlet<O>, options: LinkOptions<O> = {}): Link {
    return this.#outlet.addLink(intakeOf(target), options)
  }

  tryReceive(where?: (item: O) => boolean): O | Empty {
    return this.#outlet.tryReceive(where === undefined ? undefined : checkFunction('where', where))
  }

  receive(options?: WaitOptions): Promise<O> {
    return this.#outlet.receive(options)
  }

  waitToReceive(options?: WaitOptions): Promise<boolean> {
    return this.#outlet.waitToReceive(options)
  }

  takeAvailable(max: number = Number.POSITIVE_INFINITY): O[] {
    return this.#outlet.takeAvailable(checkCount('max', max))
  }

  receiveAll(options?: WaitOptions): AsyncIterableIterator<O> {
    return this.#outlet.receiveAll(options)
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<O> {
    return this.#outlet.receiveAll(undefined)
  }

  asReader(): ChannelReader<O> {
    return new BlockReader(this.#outlet)
  }
}

export abstract class TargetFace<I> extends BlockFace implements Target<I> {
  readonly #intake: Intake<I>
  readonly #inputCount: () => number

  constructor(parts: Parts, intake: Intake<I>) {
    super(parts)
    this.#intake = intake
    this.#inputCount = () => parts.inputCount()
    setIntake(this, intake)
  }

  get inputCount(): number {
    settleCounts()
    return this.#inputCount()
  }

  post(item: I): boolean {
    return this.#intake.post(item)
  }

  send(item: I, options?: WaitOptions): Promise<void> {
    return this.#intake.send(item, options)
  }

  asWriter(): ChannelWriter<I> {
    return new BlockWriter(this.#intake)
  }
}

export abstract class PropagatorFace<I, O> extends SourceFace<O> implements Propagator<I, O> {
  readonly #intake: Intake<I>
  readonly #inputCount: () => number

  constructor(parts: Parts, intake: Intake<I>, outlet: Outlet<O>) {
    super(parts, outlet)
    this.#intake = intake
    this.#inputCount = () => parts.inputCount()
    setIntake(this, intake)
  }

  get inputCount(): number {
    settleCounts()
    return this.#inputCount()
  }

  post(item: I): boolean {
    return this.#intake.post(item)
  }

  send(item: I, options?: WaitOptions): Promise<void> {
    return this.#intake.send(item, options)
  }

  asWriter(): ChannelWriter<I> {
    return new BlockWriter(this.#intake)
  }
}
