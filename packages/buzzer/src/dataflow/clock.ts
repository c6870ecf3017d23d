import type { Clock } from '../channels/index.ts'

/** The longest delay that one timer of the platform can hold. */
const longestTimerMs = 2 ** 31 - 1

class Timer {
  handle: NodeJS.Timeout | undefined = undefined

  unref(): void {
    this.handle?.unref()
  }
}

/**
 * The process's own timers, on a time that never jumps. They keep the process alive: each belongs to an item, a batch or
 * a caller that waits.
 */
export const processClock: Clock = {
  now: () => performance.now(),
  setTimeout(callback, ms) {
    const timer = new Timer()
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
