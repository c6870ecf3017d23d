/** Time as channels see it. Any object of this shape will do, also the `Clock` of `buzzer`'s contexts. */
export interface Clock {
  /** Wall clock, milliseconds since 1970-01-01 UTC. */
  now(): number
  /** Calls `callback` once after `ms`. */
  setTimeout(callback: () => void, ms: number): unknown
  clearTimeout(handle: unknown): void
}

/** The longest delay that one timer of the platform can hold. */
const longestTimerMs = 2 ** 31 - 1

interface Timer {
  handle: NodeJS.Timeout
}

/** The process's own timers. They keep the process alive: each one is owned by a wait that somebody is in. */
export const processClock: Clock = {
  now: () => Date.now(),
  setTimeout(callback, ms) {
    const timer = {} as Timer
    const arm = (leftMs: number): void => {
      const stepMs = Math.min(leftMs, longestTimerMs)
      timer.handle = setTimeout(() => (leftMs > stepMs ? arm(leftMs - stepMs) : callback()), stepMs)
    }
    arm(Math.max(0, ms))
    return timer
  },
  clearTimeout(timer) {
    clearTimeout((timer as Timer).handle)
  },
}
