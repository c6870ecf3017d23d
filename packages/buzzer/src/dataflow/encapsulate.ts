import type { ChannelReader, ChannelWriter, Empty, WaitOptions } from '../channels/index.ts'
import type { BlockStats, Fault, Inlet, Link, LinkOptions, Propagator, Source, Target } from './block.ts'
import { intakeOf, outletOf, setIntake, setOutlet } from './faces.ts'

class Encapsulated<I, O> implements Propagator<I, O> {
  readonly #target: Target<I>
  readonly #source: Source<O>

  constructor(target: Target<I>, source: Source<O>) {
    this.#target = target
    this.#source = source
    setIntake(this, intakeOf(target))
    setOutlet(this, outletOf(source))
  }

  get name(): string {
    return `${this.#target.name}…${this.#source.name}`
  }

  get completion(): Promise<void> {
    return this.#source.completion
  }

  get faults(): readonly Fault[] {
    return this.#source.faults
  }

  get inputCount(): number {
    return this.#target.inputCount
  }

  get outputCount(): number {
    return this.#source.outputCount
  }

  post(item: I): boolean {
    return this.#target.post(item)
  }

  send(item: I, options?: WaitOptions): Promise<void> {
    return this.#target.send(item, options)
  }

  complete(): Promise<void> {
    void this.#target.complete()
    return this.#source.completion
  }

  fault(error: unknown): void {
    this.#target.fault(error)
  }

  link<P extends O>(target: Inlet<P>, options: LinkOptions<O> & { where: (item: O) => item is P }): Link
  link(target: Inlet<O>, options?: LinkOptions<O>): Link
  link(target: Inlet<O>, options?: LinkOptions<O>): Link {
    return this.#source.link(target, options)
  }

  tryReceive(where?: (item: O) => boolean): O | Empty {
    return this.#source.tryReceive(where)
  }

  receive(options?: WaitOptions): Promise<O> {
    return this.#source.receive(options)
  }

  waitToReceive(options?: WaitOptions): Promise<boolean> {
    return this.#source.waitToReceive(options)
  }

  takeAvailable(max?: number): O[] {
    return this.#source.takeAvailable(max)
  }

  receiveAll(options?: WaitOptions): AsyncIterableIterator<O> {
    return this.#source.receiveAll(options)
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<O> {
    return this.#source.receiveAll()
  }

  asReader(): ChannelReader<O> {
    return this.#source.asReader()
  }

  asWriter(): ChannelWriter<I> {
    return this.#target.asWriter()
  }

  stats(): BlockStats {
    const target = this.#target.stats()
    const source = this.#source.stats()
    return {
      name: this.name,
      inputCount: target.inputCount,
      running: target.running + source.running,
      outputCount: source.outputCount,
      accepted: target.accepted,
      delivered: source.delivered,
      skipped: target.skipped + source.skipped,
      retried: target.retried + source.retried,
      discarded: target.discarded + source.discarded,
      waitingSends: target.waitingSends,
      links: source.links,
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#target[Symbol.asyncDispose](), this.#source[Symbol.asyncDispose]()])
  }
}

/**
 * Two ends of a graph as one block: taking, completing and faulting go to `target`; links, receives and `completion`
 * belong to `source`. Link the halves yourself. Source: spec dataflow 2.5.
 */
export function encapsulate<I, O>(target: Target<I>, source: Source<O>): Propagator<I, O> {
  return new Encapsulated(target, source)
}
