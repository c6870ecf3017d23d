import { expect, test } from 'vitest'
import { virtualClock } from '../testing/index.ts'
import { type Deadlined, DeadlineList } from './deadline-list.ts'

function item(name: string, told: string[]): Deadlined {
  return { dueAt: 0, before: undefined, after: undefined, overdue: () => void told.push(name) }
}

test('items are told once, in order, at their time; removed ones never; one timer serves all', async () => {
  const clock = virtualClock()
  const list = new DeadlineList(clock, 100)
  const told: string[] = []
  const [a, b, c] = [item('a', told), item('b', told), item('c', told)]
  list.add(a)
  await clock.advance(40)
  list.add(b)
  list.add(c)
  list.remove(b)
  list.remove(b)
  await clock.advance(59)
  expect(told).toEqual([])
  await clock.advance(1)
  expect(told).toEqual(['a'])
  await clock.advance(39)
  expect(told).toEqual(['a'])
  await clock.advance(1)
  expect(told).toEqual(['a', 'c'])
  expect(list.isEmpty).toBe(true)
})
