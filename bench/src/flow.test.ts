import { describe, expect, test } from 'vitest'
import { Flow } from './flow.ts'
import { type Reading, reading, readingsOf } from './reading.ts'

describe('a flow', () => {
  test('has at most `inFlight` readings on the way, and ends when all are accepted and handled', async () => {
    let onTheWay = 0
    let most = 0
    const flow = new Flow({
      inFlight: 10,
      batch: 4,
      async publish(readings) {
        onTheWay += readings.length
        most = Math.max(most, onTheWay)
        await Promise.resolve()
        setImmediate(() => {
          for (const each of readings) {
            onTheWay--
            flow.handled(each)
          }
        })
      },
    })
    await flow.run(103)
    expect([onTheWay, most]).toEqual([0, 10])
  })

  test('fails when one reading is handled twice and another never', async () => {
    const waiting: Reading[] = []
    const flow = new Flow({ inFlight: 3, publish: async readings => waiting.push(...readings) })
    const round = flow.run(3)
    await Promise.resolve()
    for (const each of [0, 1, 1]) flow.handled(waiting[each] as Reading)
    await expect(round).rejects.toThrow('3 of 3 handled, their sum 2 instead of 3')
  })

  test('fails when a publish does', async () => {
    const flow = new Flow({ inFlight: 3, publish: () => Promise.reject(new Error('refused')) })
    await expect(flow.run(1)).rejects.toThrow('refused')
  })
})

test('a reading is 200 bytes of JSON, or as many as were asked for, whatever its number', () => {
  for (const sequence of [0, 1, 99_999, 500_000_000]) expect(JSON.stringify(reading(sequence))).toHaveLength(200)
  for (const bytes of [200, 2_000, 200_000]) expect(JSON.stringify(readingsOf(bytes)(7))).toHaveLength(bytes)
})
