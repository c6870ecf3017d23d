import { expect, it } from 'vitest'
import { ManualClock } from '../../../test/broker/engine-client.ts'
import { AnswerWatch } from './answer-watch.ts'

function watched(): { clock: ManualClock; watch: AnswerWatch; told: string[]; advance: (ms: number) => void } {
  const clock = new ManualClock()
  const told: string[] = []
  const watch = new AnswerWatch({
    clock,
    patienceMs: 2_000,
    onSilent: silentMs => told.push(`silent ${silentMs}`),
    onHeard: () => told.push('heard'),
  })
  const advance = (ms: number): void => {
    for (let left = ms; left > 0; ) left = clock.step(left)
  }
  return { clock, watch, told, advance }
}

it('says nothing of a peer that answers, however quiet it is otherwise, and leaves no timer behind', () => {
  const { clock, watch, told, advance } = watched()
  for (let round = 0; round < 10; round++) {
    watch.asked()
    advance(1_900)
    watch.heard()
    advance(5_000)
  }
  expect(told).toEqual([])
  expect(clock.timers).toBe(0)
})

it('tells once of a peer that does not answer, and once when it is heard again', () => {
  const { watch, told, advance } = watched()
  watch.asked()
  advance(1_999)
  expect(told).toEqual([])
  for (let round = 0; round < 5; round++) {
    advance(2_000)
    watch.asked()
  }
  expect(told).toEqual(['silent 2000'])
  watch.heard()
  watch.heard()
  expect(told).toEqual(['silent 2000', 'heard'])
})

it('does not blame the peer for a time in which this process stood still', () => {
  const { clock, watch, told } = watched()
  watch.asked()
  // SIGSTOP: the timer is due, and fires a minute late.
  const stopped = clock.monotonic.bind(clock)
  let offset = 0
  clock.monotonic = () => stopped() + offset
  offset = 60_000
  clock.step(2_000)
  expect(told).toEqual([])
  watch.heard()
  clock.step(60_000)
  expect(told).toEqual([])
})
