import { expect, test } from 'vitest'
import { paced } from './paced.ts'

test('a paced round publishes by the clock, late or not, and takes the time from each call to the start of its handler', async () => {
  let now = 100
  const clock = {
    now: () => now,
    async sleep(ms: number) {
      now += ms
    },
  }
  const publishedAt: number[] = []
  const rounds = paced(
    10,
    clock,
  )(async message => {
    publishedAt.push(now)
    // The third one stops the process for 25 ms; each is handled 2 ms after its call.
    if (publishedAt.length === 3) now += 25
    now += 2
    rounds.started(message)
  })
  expect(await rounds.run(6)).toEqual([2, 2, 27, 2, 2, 2])
  expect(publishedAt).toEqual([100, 110, 120, 147, 149, 151])
})

test('a paced round fails when a message is handled twice, and when a publish fails', async () => {
  const twice = paced(0)(async message => {
    twice.started(message)
    twice.started(message)
  })
  await expect(twice.run(3)).rejects.toThrow('message 0 was handled twice')
  await expect(paced(0)(() => Promise.reject(new Error('refused'))).run(1)).rejects.toThrow('refused')
})
