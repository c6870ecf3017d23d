import { describe, expect, it } from 'vitest'
import type { Clock } from '../../message/index.ts'
import { LoopWatch } from './loop-watch.ts'

/** A clock that a test moves. A jump beyond a timer fires it late, as a stopped process would. */
class ManualClock implements Clock {
  #now = 0
  #timers: { at: number; callback: () => void }[] = []
  now(): number {
    return this.#now
  }
  monotonic(): number {
    return this.#now
  }
  setTimeout(callback: () => void, ms: number): unknown {
    const timer = { at: this.#now + ms, callback }
    this.#timers.push(timer)
    return timer
  }
  clearTimeout(timer: unknown): void {
    this.#timers = this.#timers.filter(other => other !== timer)
  }
  pass(ms: number): void {
    const until = this.#now + ms
    for (;;) {
      const next = this.#timers.toSorted((a, b) => a.at - b.at)[0]
      if (next === undefined || next.at > until) break
      this.#now = Math.max(this.#now, next.at)
      this.clearTimeout(next)
      next.callback()
    }
    this.#now = until
  }
  /** Nobody runs meanwhile. */
  stopFor(ms: number): void {
    this.#now += ms
    this.pass(0)
  }
}

function watched(): { clock: ManualClock; watch: LoopWatch; told: string[]; loop: { turns: boolean } } {
  const clock = new ManualClock()
  const told: string[] = []
  const loop = { turns: true }
  const watch: LoopWatch = new LoopWatch({
    clock,
    everyMs: 6_000,
    warnMs: 15_000,
    stallMs: 300_000,
    ask: () => {
      if (loop.turns) watch.answer()
    },
    onBlocked: () => told.push('blocked'),
    onStalled: () => told.push('stalled'),
    onResumed: () => told.push('resumed'),
  })
  return { clock, watch, told, loop }
}

describe('the watch over the event loop', () => {
  it('says nothing of a loop that turns', () => {
    const { clock, told } = watched()
    clock.pass(3_600_000)
    expect(told).toEqual([])
  })

  it('B20 warns once of a blocked loop, and gives it up after stallMs', () => {
    const { clock, told, loop } = watched()
    clock.pass(60_000)
    loop.turns = false
    clock.pass(12_000)
    expect(told).toEqual([])
    clock.pass(15_000)
    expect(told).toEqual(['blocked'])
    clock.pass(250_000)
    expect(told).toEqual(['blocked'])
    clock.pass(50_000)
    expect(told).toEqual(['blocked', 'stalled'])
  })

  it('tells when the loop turns again, and begins anew', () => {
    const { clock, watch, told, loop } = watched()
    loop.turns = false
    clock.pass(60_000)
    loop.turns = true
    watch.answer()
    expect(told).toEqual(['blocked', 'resumed'])
    clock.pass(60_000)
    expect(told).toEqual(['blocked', 'resumed'])
  })

  it('does not blame the loop for a time in which the whole process stood still', () => {
    const { clock, told, loop } = watched()
    loop.turns = false
    clock.pass(7_000)
    clock.stopFor(3_600_000)
    clock.pass(6_000)
    expect(told).toEqual([])
  })
})
