import type { Clock } from '../channels/index.ts'
import type { Fault } from './block.ts'
import { processClock } from './clock.ts'
import { completeChannel, faultChannel } from './diagnostics.ts'
import { blockClosed, type BlockClosedError } from './errors.ts'
import { settleCounts } from './settle-counts.ts'
import type { Intake } from './intake.ts'
import type { BlockOptions, RunContext } from './options.ts'
import type { Outlet } from './outlet.ts'
import { Task } from './turn.ts'

/** What a kind of block does at the turns of its life. */
export interface Organs {
  /** Does what can be done now, within one turn of the event loop. */
  work(): void
  /** The block has been closed: groups cut their remainder. */
  closing?(): void
  /** Drops input and output, and says how many items that were. */
  drop(): number
  /** Functions and iterators at work: they are waited for, also after a failure. */
  running(): number
  /** Whether neither input nor output is left. */
  empty(): boolean
}

const numbers = new Map<string, number>()

function numbered(kind: string): string {
  const number = (numbers.get(kind) ?? 0) + 1
  numbers.set(kind, number)
  return `${kind}-${number}`
}

/**
 * The life of one block, and what all parts of it share.
 *
 *   open ──complete()──▶ closed ──nothing left──▶ ended (completion resolves)
 *     └───────fault()───────┴──▶ failed ──nothing runs──▶ ended (completion rejects with the first error)
 */
export class Life {
  readonly name: string
  readonly clock: Clock
  readonly task: Task
  readonly completion: Promise<void>
  readonly faults: Fault[] = []
  readonly intakes: Intake<never>[] = []
  outlet: Outlet<never> | undefined = undefined

  open = true
  failed = false
  ended = false

  accepted = 0
  delivered = 0
  skipped = 0
  retried = 0
  discarded = 0

  readonly #organs: Organs
  readonly #resolve: () => void
  readonly #reject: (error: unknown) => void
  readonly #signal: AbortSignal | undefined
  #controller: AbortController | undefined = undefined

  constructor(kind: string, options: BlockOptions, organs: Organs) {
    this.name = options.name ?? numbered(kind)
    this.clock = options.clock ?? processClock
    this.#organs = organs
    this.task = new Task(() => {
      if (this.ended) this.outlet?.serveLate()
      else {
        if (!this.failed) organs.work()
        this.check()
      }
    })
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.completion = promise
    this.#resolve = resolve
    this.#reject = reject
    // A failure is told to those who ask; a block nobody awaits must not end the process.
    promise.catch(() => {})
    this.#signal = options.signal
  }

  /** To be called when all parts are there: a signal that is aborted already ends the block at once. */
  begin(): void {
    const signal = this.#signal
    if (signal === undefined) return
    if (signal.aborted) this.fault(signal.reason)
    else signal.addEventListener('abort', this)
  }

  handleEvent(): void {
    this.fault(this.#signal?.reason)
  }

  /** The error of `completion`. Meaningful only once `failed`. */
  get error(): unknown {
    return this.faults[0]?.error
  }

  closedError(): BlockClosedError {
    return this.failed ? blockClosed(this.name, this.error) : blockClosed(this.name)
  }

  complete(): Promise<void> {
    settleCounts()
    if (this.open) {
      this.open = false
      for (const intake of this.intakes) intake.close()
      this.#organs.closing?.()
      this.check()
    }
    return this.completion
  }

  /** Fails with an error that arose here; `item` is an argument of its own because `undefined` is an item like any other. */
  faultWith(error: unknown, item: unknown): void {
    this.fault(error, { error, block: this.name, item })
  }

  /** Fails with `error`. `origin` is the record of the block it came from, if it was propagated. */
  fault(error: unknown, origin: Fault = { error, block: this.name }): void {
    settleCounts()
    if (this.ended) return
    // Propagation reaches a block on many ways: the same error is told once.
    if (this.faults.some(fault => fault.error === error)) return
    this.faults.push(origin)
    if (faultChannel.hasSubscribers) faultChannel.publish({ ...origin, block: this.name, origin: origin.block })
    if (this.failed) return
    this.failed = true
    this.open = false
    const dropped = this.#organs.drop()
    this.discarded += dropped
    for (const intake of this.intakes) intake.fail(error, origin)
    this.#controller?.abort(error)
    this.check()
  }

  /** Ends the block if nothing keeps it alive. */
  check(): void {
    if (this.open || this.ended || this.#organs.running() > 0) return
    if (!this.failed && !this.#organs.empty()) return
    this.ended = true
    this.#signal?.removeEventListener('abort', this)
    if (completeChannel.hasSubscribers) completeChannel.publish(this.#summary())
    // Links first: whoever awaits `completion` finds it already propagated.
    this.outlet?.end()
    if (this.failed) this.#reject(this.error)
    else this.#resolve()
  }

  /** Something left the block: others may come in, or the end may have come. Calls no function of the user. */
  left(): void {
    for (const intake of this.intakes) intake.serveCallers()
    if (!this.open) this.check()
  }

  /** For the functions of the block. One object, whose signal is made when it is first read. */
  readonly context: RunContext = Object.defineProperty({} as RunContext, 'signal', {
    get: () => this.#abortSignal(),
    enumerable: true,
  })

  #abortSignal(): AbortSignal {
    this.#controller ??= new AbortController()
    if (this.failed) this.#controller.abort(this.error)
    return this.#controller.signal
  }

  #summary(): object {
    const { name: block, accepted, delivered, skipped, discarded } = this
    return { block, ...(this.failed ? { error: this.error } : {}), accepted, delivered, skipped, discarded }
  }
}
