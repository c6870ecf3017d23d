import type { Contender, Trial } from '../../suite.ts'

/** Of every channel and queue here; rivals without back-pressure are gated every so many items. */
export const capacity = 1_024

/** Lets the event loop turn: the gate of those who have none. */
export function turn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}

/** A contender that passes the numbers 0 … n − 1 from one side to the other and answers their sum, which is checked. */
export function passing(
  side: 'ours' | 'rival',
  name: string,
  prepare: () => Promise<(n: number) => Promise<number>>,
): Contender {
  return {
    name,
    side,
    async setup(): Promise<Trial> {
      const pass = await prepare()
      return {
        async run(n) {
          const sum = await pass(n)
          const expected = (n * (n - 1)) / 2
          if (sum !== expected) throw new Error(`${name} lost or changed items: sum ${sum} instead of ${expected}`)
        },
        async teardown() {},
      }
    },
  }
}
