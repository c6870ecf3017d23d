import { setTimeout as sleep } from 'node:timers/promises'
import { type Reading, reading, sequenceOf } from './reading.ts'

export interface PacedRounds {
  /** Told by the handler as the very first thing it does. */
  started(message: Reading): void
  run(n: number): Promise<readonly number[]>
}

/** What tells the time and lets it pass; tests have one of their own. */
export interface PaceClock {
  /** Milliseconds. */
  now(): number
  sleep(ms: number): Promise<unknown>
}

export type Timed = (publish: (message: Reading) => Promise<unknown>) => PacedRounds

/**
 * One message every `everyMs` by the clock, whether the one before has arrived or not: a stall of the broker is felt by
 * every message of its time. A sample is the time from the call of `publish` to the start of the handler. A round rejects
 * when a publish does, or when a message is handled twice.
 */
export function paced(
  everyMs: number,
  clock: PaceClock = { now: () => performance.now(), sleep: ms => sleep(ms) },
): Timed {
  return publish => {
    let calledAt: number[] = []
    let samples: (number | undefined)[] = []
    let left = 0
    let settle: { resolve(): void; reject(error: unknown): void } | undefined
    const fail = (error: unknown): void => settle?.reject(error)
    return {
      started(message) {
        const now = clock.now()
        const at = sequenceOf(message)
        if (samples[at] !== undefined) fail(new Error(`message ${at} was handled twice`))
        samples[at] = now - (calledAt[at] ?? Number.NaN)
        if (--left === 0) settle?.resolve()
      },
      async run(n) {
        calledAt = []
        samples = []
        left = n
        const allHandled = new Promise<void>((resolve, reject) => (settle = { resolve, reject }))
        // It may fail while the loop below still waits for the clock; the failure is taken up behind it.
        allHandled.catch(() => undefined)
        const accepted: Promise<unknown>[] = []
        const beganAt = clock.now()
        for (let i = 0; i < n; i++) {
          const restMs = beganAt + i * everyMs - clock.now()
          if (restMs > 0) await clock.sleep(restMs)
          calledAt[i] = clock.now()
          accepted.push(publish(reading(i)).catch(fail))
        }
        await Promise.all([allHandled, ...accepted])
        return samples as readonly number[]
      },
    }
  }
}
