import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BinaryHeap } from './binary-heap.ts'
import { DeduplicationWindow } from './deduplication-window.ts'
import { Deque } from './deque.ts'
import type { Entry } from './entry.ts'
import { ReadyList } from './ready-list.ts'

describe('structures of the memory broker', () => {
  test('Deque agrees with an array under any pushes, shifts and filters', () => {
    const step = fc.oneof(
      fc.record({ as: fc.constant('push' as const), item: fc.nat(100) }),
      fc.record({ as: fc.constant('shift' as const) }),
      fc.record({ as: fc.constant('filter' as const), above: fc.nat(100) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), steps => {
        const deque = new Deque<number>()
        let model: number[] = []
        for (const one of steps) {
          if (one.as === 'push') {
            deque.push(one.item)
            model.push(one.item)
          } else if (one.as === 'shift') expect(deque.shift()).toBe(model.shift())
          else {
            deque.filter(item => item > one.above)
            model = model.filter(item => item > one.above)
          }
          expect(deque.size).toBe(model.length)
          expect(deque.peek()).toBe(model[0])
        }
        expect([...deque]).toEqual(model)
      }),
    )
  })

  test('BinaryHeap gives the smallest first whatever was removed from the middle', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(50), { maxLength: 100 }),
        fc.array(fc.nat(99), { maxLength: 50 }),
        (ranks, removals) => {
          const heap = new BinaryHeap<{ rank: number; position: number }>()
          const items = ranks.map(rank => ({ rank, position: -1 }))
          for (const item of items) heap.push(item)
          for (const at of removals) {
            const item = items[at]
            if (item !== undefined) heap.remove(item)
          }
          const left = items.filter(item => item.position >= 0).map(item => item.rank)
          const out: number[] = []
          for (let item = heap.pop(); item !== undefined; item = heap.pop()) out.push(item.rank)
          expect(out).toEqual(left.toSorted((a, b) => a - b))
        },
      ),
    )
  })

  test('ReadyList gives the highest priority first, then by sequence, whatever comes back or is removed', () => {
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ as: fc.constant('append' as const), priority: fc.nat(9) }) },
      { weight: 2, arbitrary: fc.record({ as: fc.constant('take' as const), putBack: fc.boolean() }) },
      { weight: 1, arbitrary: fc.record({ as: fc.constant('remove' as const), which: fc.nat(50) }) },
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), steps => {
        const list = new ReadyList()
        const model: { entry: Entry; priority: number }[] = []
        let rank = 0
        for (const one of steps) {
          if (one.as === 'append') {
            const entry = { rank: ++rank, position: -1, spot: 'none' } as Entry
            list.append(entry, one.priority)
            model.push({ entry, priority: one.priority })
          } else if (one.as === 'remove') {
            const [gone] = model.splice(one.which % Math.max(1, model.length), 1)
            if (gone !== undefined) list.remove(gone.entry, gone.priority)
          } else {
            model.sort((a, b) => b.priority - a.priority || a.entry.rank - b.entry.rank)
            const wanted = model.shift()
            const taken = list.take()
            expect(taken).toBe(wanted?.entry)
            if (wanted !== undefined && one.putBack) {
              list.insert(wanted.entry, wanted.priority)
              model.push(wanted)
            }
          }
          expect(list.size).toBe(model.length)
        }
        expect([...list].length).toBe(model.length)
      }),
    )
  })

  test('DeduplicationWindow forgets what left the window, so that it stays as small as the window is busy', () => {
    const window = new DeduplicationWindow()
    for (let now = 0; now < 10_000; now++) window.add(`k${now}`, 100, now)
    expect(window.size).toBe(100)
    expect(window.has('k9999', 100, 10_000)).toBe(true)
    expect(window.has('k9900', 100, 10_000)).toBe(false)
    window.forget('k9999')
    expect(window.has('k9999', 100, 10_000)).toBe(false)
  })
})
