import type { Clock } from '../message/index.ts'

/** A clock that stands still until it is told to go on. Give it to a bus as `clock`; its timers then run when you say so. */
export interface VirtualClock extends Clock {
  /**
   * Moves time forward by `ms`. Timers that fall due fire one by one in order of their times, the clock showing each one's
   * time, and after each `settled` is awaited. Default of `settled`: one turn of the event loop.
   */
  advance(ms: number, settled?: () => Promise<void>): Promise<void>
  /** When the next timer fires, on the wall clock; undefined when none is set. */
  readonly nextAt: number | undefined
}

interface Timer {
  readonly at: number
  readonly order: number
  readonly callback: () => void
}

const clocks = new WeakSet<Clock>()

/** Whether `clock` was made by `virtualClock()`. */
export function isVirtualClock(clock: Clock | undefined): clock is VirtualClock {
  return clock !== undefined && clocks.has(clock)
}

/**
 * Makes a clock that only `advance` moves. `startAt`: default the present, so that dates made by `new Date()` in a test
 * mean what they seem to mean. Calls of `advance` queue up behind each other.
 */
export function virtualClock(options: { readonly startAt?: Date } = {}): VirtualClock {
  const origin = options.startAt?.getTime() ?? Date.now()
  const timers = new Set<Timer>()
  let elapsed = 0
  let order = 0
  let last: Promise<void> = Promise.resolve()

  const next = (): Timer | undefined => {
    let first: Timer | undefined
    for (const timer of timers) {
      if (first === undefined || timer.at < first.at || (timer.at === first.at && timer.order < first.order))
        first = timer
    }
    return first
  }

  const run = async (until: number, settled: () => Promise<void>): Promise<void> => {
    await settled()
    for (let timer = next(); timer !== undefined && timer.at <= until; timer = next()) {
      timers.delete(timer)
      elapsed = Math.max(elapsed, timer.at)
      timer.callback()
      await settled()
    }
    elapsed = until
    await settled()
  }

  const clock: VirtualClock = {
    now: () => origin + elapsed,
    monotonic: () => elapsed,
    setTimeout(callback, ms) {
      const timer: Timer = { at: elapsed + Math.max(0, ms), order: order++, callback }
      timers.add(timer)
      return timer
    },
    clearTimeout(timer) {
      timers.delete(timer as Timer)
    },
    get nextAt() {
      const timer = next()
      return timer === undefined ? undefined : origin + timer.at
    },
    advance(ms, settled = turn) {
      if (!(ms >= 0)) throw new RangeError(`a clock moves forward by 0 ms or more, not ${ms}`)
      const advanced = last.then(() => run(elapsed + ms, settled))
      last = advanced.catch(() => undefined)
      return advanced
    },
  }
  clocks.add(clock)
  return clock
}

/** One turn of the event loop: whatever was ready to run has run. */
export function turn(): Promise<void> {
  return new Promise(resolve => {
    setImmediate(resolve)
  })
}
