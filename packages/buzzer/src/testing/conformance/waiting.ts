import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'

/** Waits until `holds`; fails with `what` when that takes longer than `patienceMs`. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  what: string | (() => string),
  patienceMs: number,
): Promise<void> {
  const giveUpAt = performance.now() + patienceMs
  for (;;) {
    if (await holds()) return
    if (performance.now() > giveUpAt) assert.fail(typeof what === 'string' ? what : what())
    await sleep(2)
  }
}

/** Fails when `promise` is still pending after `patienceMs`: nothing in a contract may hang. */
export async function settles<T>(promise: Promise<T>, what: string, patienceMs: number): Promise<T> {
  const ended = new AbortController()
  try {
    return await Promise.race([
      promise,
      sleep(patienceMs, undefined, { signal: ended.signal }).then(
        () => assert.fail(`${what} did not settle within ${patienceMs} ms`),
        () => new Promise<never>(() => {}),
      ),
    ])
  } finally {
    ended.abort()
  }
}

/** The rejection of `promise`, which must carry `code`. */
export async function rejection(
  promise: Promise<unknown>,
  code: string,
  what: string,
  patienceMs: number,
): Promise<{ readonly code: string; readonly message: string; readonly details: Readonly<Record<string, unknown>> }> {
  let error: unknown
  try {
    await settles(promise, what, patienceMs)
  } catch (failure) {
    error = failure
  }
  assert.ok(error !== undefined, `${what} must reject with ${code}, but resolved`)
  assert.equal((error as { code?: unknown }).code, code, `${what} must reject with ${code}, not with ${inspect(error)}`)
  return error as { code: string; message: string; details: Readonly<Record<string, unknown>> }
}
