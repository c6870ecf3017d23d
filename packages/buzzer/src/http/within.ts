import type { Clock } from '../message/index.ts'

/**
 * `work`, or the rejection `late()` after `ms`: for what may hang when a store or broker is away. The work itself goes on;
 * what becomes of it then is nobody's concern any more.
 */
export async function within<T>(clock: Clock, ms: number, work: Promise<T>, late: () => Error): Promise<T> {
  const { promise: deadline, reject } = Promise.withResolvers<never>()
  const timer = clock.setTimeout(() => reject(late()), ms)
  try {
    return await Promise.race([work, deadline])
  } finally {
    clock.clearTimeout(timer)
    work.catch(() => {})
  }
}
