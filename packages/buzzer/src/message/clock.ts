/**
 * Time as rooms see it. Everything that waits takes its clock from its context, so that tests own time (STYLE 12).
 * Channels accept any object with `now`, `setTimeout` and `clearTimeout`: this is one.
 */
export interface Clock {
  /** Wall clock, milliseconds since 1970-01-01 UTC. */
  now(): number
  /** Milliseconds that never jump and never go back; the origin is arbitrary. For retry delays, locks and time limits. */
  monotonic(): number
  /** Calls `callback` once after `ms`. Any length is allowed: implementations re-arm beyond 2³¹ ms. */
  setTimeout(callback: () => void, ms: number): unknown
  clearTimeout(handle: unknown): void
}

/** The longest delay that one timer of the platform can hold. */
const longestTimerMs = 2 ** 31 - 1

interface Timer {
  handle: NodeJS.Timeout
}

/** The process's own clock. Its timers do not keep a process alive; what must stay alive holds a connection or a server. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimeout(callback, ms) {
    const timer = {} as Timer
    const arm = (leftMs: number): void => {
      const stepMs = Math.min(leftMs, longestTimerMs)
      timer.handle = setTimeout(() => (leftMs > stepMs ? arm(leftMs - stepMs) : callback()), stepMs)
      timer.handle.unref()
    }
    arm(Math.max(0, ms))
    return timer
  },
  clearTimeout(timer) {
    if (timer !== undefined && timer !== null) clearTimeout((timer as Timer).handle)
  },
}
