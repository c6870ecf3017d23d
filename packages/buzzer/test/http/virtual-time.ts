import type { Clock } from '../../src/message/index.ts'

/** A clock that stands still until told, for tests in one process. */
export interface VirtualTime extends Clock {
  /** Fires due timers one by one, letting everything they cause happen in between. */
  advance(ms: number): Promise<void>
}

interface Timer {
  readonly at: number
  readonly order: number
  readonly callback: () => void
}

export function virtualTime(startMs: number = Date.UTC(2026, 10, 23, 12)): VirtualTime {
  let now = startMs
  let order = 0
  const timers = new Set<Timer>()
  const nextDue = (until: number): Timer | undefined => {
    let next: Timer | undefined
    for (const timer of timers) {
      if (timer.at > until) continue
      if (next === undefined || timer.at < next.at || (timer.at === next.at && timer.order < next.order)) next = timer
    }
    return next
  }
  return {
    now: () => now,
    monotonic: () => now,
    setTimeout(callback, ms) {
      const timer: Timer = { at: now + Math.max(0, ms), order: order++, callback }
      timers.add(timer)
      return timer
    },
    clearTimeout(timer) {
      timers.delete(timer as Timer)
    },
    async advance(ms) {
      const until = now + ms
      for (let timer = nextDue(until); timer !== undefined; timer = nextDue(until)) {
        timers.delete(timer)
        now = Math.max(now, timer.at)
        timer.callback()
        await settle()
      }
      now = until
      await settle()
    },
  }
}

/** Lets everything that waits for nothing but the event loop happen. */
export async function settle(turns: number = 40): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise(resolve => setImmediate(resolve))
}
