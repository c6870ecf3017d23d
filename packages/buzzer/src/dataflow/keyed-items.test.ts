import { describe, expect, test } from 'vitest'
import { ActionBlock, TransformBlock } from './index.ts'

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

async function turns(count: number): Promise<void> {
  for (let left = count; left > 0; left--) await turn()
}

describe('keys', () => {
  test('DF-69 10,000 items of 50 keys: order within each key, never one key twice at once, and keys do overtake', async () => {
    for (const ordered of [true, false]) {
      const busy = new Set<number>()
      const last = new Map<number, number>()
      const wrong: number[] = []
      let most = 0
      const block = new TransformBlock<number, number>(
        item => {
          const key = item % 50
          if (busy.has(key) || (last.get(key) ?? -1) > item) wrong.push(item)
          busy.add(key)
          most = Math.max(most, busy.size)
          const done = (): number => {
            busy.delete(key)
            last.set(key, item)
            return item
          }
          const duration = (item * 7) % 4
          return duration === 0
            ? done()
            : Promise.resolve().then(duration === 1 ? done : async () => (await Promise.resolve(), done()))
        },
        { key: item => item % 50, parallel: 4, ordered },
      )
      const seen: number[] = []
      const sink = new ActionBlock<number>(item => void seen.push(item))
      block.link(sink)
      for (let item = 0; item < 10_000; item++) await block.send(item)
      void block.complete()
      await sink.completion
      expect(wrong).toEqual([])
      expect(most).toBe(4)
      expect(seen).toHaveLength(10_000)
      if (ordered) expect(seen).toEqual(seen.toSorted((a, b) => a - b))
    }
  })

  test('an item whose key is busy holds up no other key, and counts as not started', async () => {
    const gate = Promise.withResolvers<void>()
    const seen: string[] = []
    const action = new ActionBlock<string>(
      async item => {
        seen.push(item)
        if (item === 'a1') await gate.promise
      },
      { key: item => item[0], parallel: 2 },
    )
    for (const item of ['a1', 'a2', 'b1', 'a3', 'b2']) action.post(item)
    await turns(3)
    expect(seen).toEqual(['a1', 'b1', 'b2'])
    expect(action.stats()).toMatchObject({ inputCount: 2, running: 1 })
    gate.resolve()
    await action.complete()
    expect(seen).toEqual(['a1', 'b1', 'b2', 'a2', 'a3'])
  })

  test('a throwing key ends the block', async () => {
    const error = new Error('no key')
    const action = new ActionBlock<number>(() => {}, {
      key: () => {
        throw error
      },
    })
    action.post(1)
    await expect(action.completion).rejects.toBe(error)
    expect(action.stats()).toMatchObject({ discarded: 1, inputCount: 0 })
  })
})
