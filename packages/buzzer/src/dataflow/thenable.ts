/**
 * Do not await a value that may be plain: a promise costs more than most functions. A `then` that throws when it is read
 * counts as one, because `await` turns that into a rejection.
 */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  if (value === null || (typeof value !== 'object' && typeof value !== 'function')) return false
  try {
    return typeof (value as { then?: unknown }).then === 'function'
  } catch {
    return true
  }
}
