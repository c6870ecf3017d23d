import { Channel } from '../channels/index.ts'
import type { ErrorAction, FunctionOptions, RunContext } from './options.ts'
import { capacityFor, checkCount, checkFunction, checkInteger, checkMs, checkPositive } from './options.ts'
import { retryChannel, skipChannel } from './diagnostics.ts'
import { Call } from './call.ts'
import { fusable, runFused } from './fused-run.ts'
import { Intake } from './intake.ts'
import { KeyedItems } from './keyed-items.ts'
import type { Life } from './life.ts'
import { settleCounts } from './settle-counts.ts'
import { StartRate } from './start-rate.ts'
import { isThenable } from './thenable.ts'
import type { Results, Straight } from './results.ts'
import { Ring } from './ring.ts'

/** With fewer items than this the search for stages to fuse costs more than it gains. */
const worthFusing = 8

/**
 * The taking half of every block that calls a function: starts calls as parallelism, keys and rate allow, waits for
 * promises, and asks `onError`.
 *
 *   input ──▶ (key busy: parked) ──▶ call ──value──▶ results
 *                                     ▲  └──error──▶ onError ──▶ fault | skip
 *                                     └────── retry, perhaps later ◀┘
 */
export class FunctionStage<I, R> {
  readonly life: Life
  readonly intake: Intake<I>
  running = 0
  readonly fn: (item: I, context: RunContext) => unknown
  readonly context: RunContext
  /** Where synchronous results go, unless each needs a call of its own. */
  straight: Straight | undefined = undefined
  readonly #results: Results<I, R>
  /** Items not yet started. */
  readonly ring: Ring<I> = new Ring()
  readonly #again: Ring<Call<I, R>> = new Ring()
  readonly #delayed: Map<Call<I, R>, unknown> = new Map()
  readonly #onError: FunctionOptions<I>['onError']
  readonly #keyed: KeyedItems<I, Call<I, R>> | undefined
  readonly #rate: StartRate | undefined
  #parallel: number
  /** An item is awaited without a call, because no other function may run beside it. */
  #alone = false
  #aloneItem: I | undefined = undefined
  /** Its call, made when others may start beside it after all. */
  #aloneCall: Call<I, R> | undefined = undefined
  /** A loop of `#awaitAll` is free to go on with the next promise, which is left here. */
  #loopFree = false
  #nextItem: I | undefined = undefined
  #nextCall: Call<I, R> | undefined = undefined
  #nextPromise: PromiseLike<unknown> | undefined = undefined

  constructor(
    life: Life,
    fn: (item: I, context: RunContext) => unknown,
    options: FunctionOptions<I>,
    results: Results<I, R>,
  ) {
    this.life = life
    this.fn = checkFunction('fn', fn)
    this.context = life.context
    this.#results = results
    this.#parallel = checkCount('parallel', options.parallel ?? 1)
    this.#onError = options.onError ?? 'fault'
    if (typeof this.#onError !== 'function') checkAction(this.#onError)
    this.#keyed = options.key === undefined ? undefined : new KeyedItems(checkFunction('key', options.key))
    if (options.rate !== undefined) {
      const limit = checkInteger('rate.limit', options.rate.limit)
      this.#rate = new StartRate(limit, checkPositive('rate.perMs', options.rate.perMs), life.clock, life.task)
    }
    this.intake = new Intake<I>(life, this, { capacity: capacityFor(options) })
  }

  /** A synchronous result needs no call of its own: it goes straight on, unless earlier places are open. */
  goStraight(straight: Straight): void {
    if (this.#keyed === undefined && this.#rate === undefined) this.straight = straight
  }

  get inputCount(): number {
    return this.ring.size + (this.#keyed?.parked ?? 0)
  }

  /** Nothing is here, and a synchronous item could go straight through. */
  get idle(): boolean {
    const { straight } = this
    return (
      straight !== undefined &&
      this.ring.size === 0 &&
      this.running === 0 &&
      (straight.places === undefined || straight.places.empty) &&
      (straight.outlet === undefined || straight.outlet.size === 0)
    )
  }

  get saturated(): boolean {
    return this.running >= this.#parallel
  }

  setParallel(parallel: number): void {
    settleCounts()
    this.#parallel = checkCount('parallel', parallel)
    // Others may start beside it now: it needs a place of its own.
    if (this.#alone && parallel > 1) this.#aloneCall ??= this.#placed(this.#aloneItem as I, undefined)
    this.life.task.schedule()
  }

  accept(item: I): boolean {
    this.ring.push(item)
    return true
  }

  /** Starts what can be started now. In the block's own task only. */
  work(): void {
    this.#startAgain()
    if (this.#keyed === undefined) this.#startPlain()
    else this.#startKeyed(this.#keyed)
  }

  /** Drops all that does not run, and says how much that was. */
  drop(): number {
    const held = this.#again.size + this.#delayed.size
    const dropped = this.inputCount + held
    for (const timer of this.#delayed.values()) this.life.clock.clearTimeout(timer)
    this.running -= held
    this.ring.clear()
    this.#again.clear()
    this.#delayed.clear()
    this.#keyed?.clear()
    this.#rate?.stop()
    return dropped
  }

  /** An iterator has come to its end. */
  finish(call: Call<I, R>): void {
    this.running--
    this.#release(call)
  }

  /** The function, or its iterator, has failed. */
  fail(call: Call<I, R>, error: unknown): void {
    if (this.life.failed) {
      this.running--
      this.life.discarded++
      this.life.faultWith(error, call.item)
      this.life.check()
      return
    }
    let action: ErrorAction | Promise<ErrorAction>
    try {
      action =
        typeof this.#onError === 'function'
          ? this.#onError(error, call.item, call.attempt)
          : (this.#onError as ErrorAction)
      if (isThenable(action)) {
        void Promise.resolve(action).then(
          answer => this.#act(call, error, answer),
          failure => this.#act(call, failure, 'fault'),
        )
        return
      }
    } catch (failure) {
      this.#act(call, failure, 'fault')
      return
    }
    this.#act(call, error, action)
  }

  /** Retries first: they hold their place among the running ones. */
  #startAgain(): void {
    while (this.#again.size > 0 && !this.life.failed) {
      if (!this.#rateAllows() || this.life.task.spent()) return
      this.#call(this.#again.shift())
    }
  }

  #startPlain(): void {
    if (this.straight === undefined) this.#startPlaced()
    else this.#startRun(this.straight)
  }

  /** The fast way. Counts are kept up item by item, because the function may look at them. */
  #startRun({ outlet, places }: Straight): void {
    const { fn, context, life, intake, ring } = this
    const { task } = life
    while (ring.size > 0 && this.running < this.#parallel && !life.failed) {
      if (ring.size >= worthFusing && this.running === 0 && (places === undefined || places.empty)) {
        const stages = fusable(this)
        if (stages !== undefined && runFused(stages) > 0) continue
      }
      let allowed = task.allowance()
      if (allowed === 0) return
      while (allowed > 0 && ring.size > 0 && this.running < this.#parallel && !life.failed) {
        allowed--
        const item = ring.shift()
        this.running++
        let value: unknown
        try {
          value = fn(item, context)
        } catch (error) {
          this.failed(item, error)
          continue
        }
        if (isThenable(value) || (places !== undefined && !places.empty)) {
          this.conclude(item, value)
          continue
        }
        this.running--
        if (life.failed) life.discarded++
        else if (outlet === undefined) {
          intake.owned--
          life.delivered++
        } else if (value === Channel.empty) intake.owned--
        else outlet.emit(value)
      }
      task.handBack(allowed)
    }
  }

  /** The function has been called for an item without a call of its own, and has given this. */
  conclude(item: I, value: unknown): void {
    const { places } = this.straight as Straight
    const orderless = places === undefined || places.empty
    if (isThenable(value) && this.#parallel === 1 && orderless) this.#awaitAlone(item, value)
    else this.#settle(this.#placed(item, undefined), value)
  }

  /** The function has thrown for an item without a call of its own. */
  failed(item: I, error: unknown): void {
    this.fail(this.#placed(item, undefined), error)
  }

  /** With one function at a time nothing can overtake: neither a call nor a place is needed. */
  #awaitAlone(item: I, promise: PromiseLike<unknown>): void {
    this.#alone = true
    this.#aloneItem = item
    this.#await(item, undefined, promise)
  }

  #await(item: I, call: Call<I, R> | undefined, promise: PromiseLike<unknown>): void {
    if (!this.#loopFree) {
      void this.#awaitAll(item, call, promise)
      return
    }
    this.#loopFree = false
    this.#nextItem = item
    this.#nextCall = call
    this.#nextPromise = promise
  }

  /** One promise after the other: `await` in a loop costs half of what reactions by `then` do. */
  async #awaitAll(item: I, call: Call<I, R> | undefined, promise: PromiseLike<unknown>): Promise<void> {
    const { task } = this.life
    for (;;) {
      try {
        const value = await promise
        task.wake()
        if (call === undefined) this.#doneAlone(value)
        else this.#done(call, value)
      } catch (error) {
        task.wake()
        this.fail(call ?? this.#endAlone() ?? this.#placed(item, undefined), error)
      }
      if (this.running > 0) {
        // Others are about to settle in this microtask checkpoint, too: what follows is done once for all of them.
        task.runSoon()
        return
      }
      this.#loopFree = true
      task.runNow()
      if (this.#loopFree) {
        this.#loopFree = false
        return
      }
      item = this.#nextItem as I
      call = this.#nextCall
      promise = this.#nextPromise as PromiseLike<unknown>
    }
  }

  #endAlone(): Call<I, R> | undefined {
    const call = this.#aloneCall
    this.#alone = false
    this.#aloneItem = undefined
    this.#aloneCall = undefined
    return call
  }

  #doneAlone(value: unknown): void {
    const { life } = this
    const { outlet } = this.straight as Straight
    const call = this.#endAlone()
    if (call !== undefined) {
      this.#done(call, value)
      return
    }
    this.running--
    if (life.failed) {
      life.discarded++
      life.check()
    } else if (outlet === undefined) {
      this.intake.owned--
      life.delivered++
    } else if (value === Channel.empty) this.intake.owned--
    else outlet.emit(value)
  }

  #startPlaced(): void {
    const input = this.ring
    while (input.size > 0 && this.running < this.#parallel && !this.life.failed && this.#results.mayStart) {
      if (!this.#rateAllows() || this.life.task.spent()) return
      this.running++
      this.#call(this.#placed(input.shift(), undefined))
    }
  }

  #startKeyed(keyed: KeyedItems<I, Call<I, R>>): void {
    while (this.running < this.#parallel && !this.life.failed && this.#results.mayStart) {
      const ready = keyed.ready
      if (!ready && this.ring.size === 0) return
      if (!this.#rateAllows() || this.life.task.spent()) return
      if (ready) {
        this.running++
        this.#call(keyed.takeReady())
        continue
      }
      const item = this.ring.at(0)
      let key: unknown
      try {
        key = keyed.keyOf(item)
      } catch (error) {
        this.life.faultWith(error, item)
        return
      }
      if (this.life.failed) return
      this.ring.shift()
      const call = this.#placed(item, key)
      if (keyed.park(call)) continue
      this.running++
      this.#call(call)
    }
  }

  #placed(item: I, key: unknown): Call<I, R> {
    const call = new Call<I, R>(item, key)
    this.#results.place(call)
    return call
  }

  #rateAllows(): boolean {
    return this.#rate === undefined || this.#rate.allows()
  }

  #call(call: Call<I, R>): void {
    this.#rate?.count()
    let value: unknown
    try {
      value = this.fn(call.item, this.context)
    } catch (error) {
      this.fail(call, error)
      return
    }
    this.#settle(call, value)
  }

  #settle(call: Call<I, R>, value: unknown): void {
    if (isThenable(value)) this.#await(call.item, call, value)
    else this.#done(call, value)
  }

  #done(call: Call<I, R>, value: unknown): void {
    if (!this.life.failed && !this.#results.value(call, value)) return
    this.running--
    if (this.life.failed) {
      this.life.discarded++
      this.life.check()
    } else this.#release(call)
  }

  /** The next item of the key may start. */
  #release(call: Call<I, R>): void {
    if (this.#keyed?.release(call)) this.life.task.schedule()
  }

  #act(call: Call<I, R>, error: unknown, action: ErrorAction): void {
    const { life } = this
    if (life.failed) {
      this.running--
      life.discarded++
      life.faultWith(error, call.item)
      life.check()
      return
    }
    let afterMs: number
    try {
      afterMs = checkAction(action)
      if (afterMs >= 0 && this.#results.mayRetry?.(call) === false)
        throw new TypeError('onError cannot answer with a retry once outputs of the item have been given', {
          cause: error,
        })
    } catch (failure) {
      this.#fault(call, failure)
      return
    }
    if (action === 'fault') this.#fault(call, error)
    else if (action === 'skip') this.#skip(call, error)
    else this.#retry(call, error, afterMs)
  }

  #fault(call: Call<I, R>, error: unknown): void {
    this.running--
    this.life.discarded++
    this.life.faultWith(error, call.item)
  }

  #skip(call: Call<I, R>, error: unknown): void {
    const { item, attempt } = call
    if (skipChannel.hasSubscribers) skipChannel.publish({ block: this.life.name, error, item, attempt })
    this.life.skipped++
    this.running--
    this.#results.nothing(call)
    this.#release(call)
    this.life.task.schedule()
  }

  #retry(call: Call<I, R>, error: unknown, afterMs: number): void {
    const { life } = this
    const { item, attempt } = call
    if (retryChannel.hasSubscribers) retryChannel.publish({ block: life.name, error, item, attempt, afterMs })
    life.retried++
    call.attempt++
    if (afterMs === 0) {
      this.#again.push(call)
      life.task.schedule()
      return
    }
    const timer = life.clock.setTimeout(() => {
      if (!this.#delayed.delete(call)) return
      this.#again.push(call)
      life.task.schedule()
    }, afterMs)
    this.#delayed.set(call, timer)
  }
}

/** Milliseconds until the retry; -1: none. */
function checkAction(action: ErrorAction): number {
  if (action === 'fault' || action === 'skip') return -1
  if (action === 'retry') return 0
  if (typeof action === 'object' && action !== null && 'retryAfterMs' in action)
    return checkMs('retryAfterMs', action.retryAfterMs)
  throw new TypeError(`onError must answer 'fault', 'skip', 'retry' or { retryAfterMs }, not ${String(action)}`)
}
