import fc from 'fast-check'
import { expect, test } from 'vitest'
import { AckWindow } from './ack-window.ts'

/** A channel as the server sees it: which tags it has given out and not yet got back. */
class ServerChannel {
  readonly unacked = new Set<number>()
  readonly acked = new Set<number>()
  readonly givenBack = new Set<number>()
  frames = 0

  ackUpTo(tag: number): void {
    this.frames++
    if (!this.unacked.has(tag)) throw new Error(`unknown delivery tag ${tag}`)
    for (const one of this.unacked) {
      if (one > tag) continue
      this.unacked.delete(one)
      this.acked.add(one)
    }
  }

  ackOne(tag: number): void {
    this.frames++
    if (!this.unacked.delete(tag)) throw new Error(`unknown delivery tag ${tag}`)
    this.acked.add(tag)
  }

  giveBack(tag: number): void {
    if (!this.unacked.delete(tag)) throw new Error(`unknown delivery tag ${tag}`)
    this.givenBack.add(tag)
  }
}

test('whatever is handled, rejected or released in whatever order: exactly what was handled is acknowledged', () => {
  const step = fc.record({
    kind: fc.constantFrom('deliver', 'handle', 'reject', 'release', 'flush', 'give back'),
    at: fc.nat(),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), steps => {
      const server = new ServerChannel()
      const window = new AckWindow<number>()
      const handled = new Set<number>()
      const others = new Set<number>()
      let tag = 0
      const giveBack = (): void => {
        for (const one of window.takeReleases()) server.giveBack(one)
      }
      for (const { kind, at } of steps) {
        const open = [...window.deliveries()]
        const chosen = open[at % Math.max(1, open.length)]
        if (kind === 'deliver') {
          server.unacked.add(++tag)
          window.open(tag, tag)
        } else if (kind === 'flush') window.flush(server)
        else if (kind === 'give back') giveBack()
        else if (chosen === undefined) continue
        else if (kind === 'handle') {
          window.handled(chosen)
          handled.add(chosen)
        } else if (kind === 'release') {
          window.release(chosen)
          others.add(chosen)
        } else {
          window.gone(chosen)
          server.giveBack(chosen)
          others.add(chosen)
        }
      }
      window.flush(server)
      giveBack()
      expect(server.acked).toEqual(handled)
      expect(server.givenBack).toEqual(others)
      expect([...server.unacked]).toEqual([...window.deliveries()])
    }),
    { numRuns: 500 },
  )
})

test('500 deliveries handled in a row leave in one frame', () => {
  const server = new ServerChannel()
  const window = new AckWindow<string>()
  for (let tag = 1; tag <= 500; tag++) {
    server.unacked.add(tag)
    window.open(tag, 'x')
  }
  for (let tag = 500; tag >= 1; tag--) window.handled(tag)
  window.flush(server)
  expect([server.frames, server.acked.size]).toEqual([1, 500])
})

test('a slow delivery holds up no acknowledgement of those behind it', () => {
  const server = new ServerChannel()
  const window = new AckWindow<string>()
  for (let tag = 1; tag <= 10; tag++) {
    server.unacked.add(tag)
    window.open(tag, 'x')
  }
  for (let tag = 2; tag <= 10; tag++) window.handled(tag)
  window.flush(server)
  expect([...server.unacked]).toEqual([1])
})

test('a settlement of a tag that is not open changes nothing', () => {
  const window = new AckWindow<string>()
  window.open(1, 'x')
  expect(window.clear()).toEqual(['x'])
  expect([window.handled(1), window.gone(1), window.release(1)]).toEqual([false, false, false])
  expect(window.takeReleases()).toEqual([])
})
