const firstMs = 100
const longestMs = 30_000

/**
 * How long to wait before the next attempt: full jitter, anything from 0 to a bound that doubles from 100 ms to 30 s.
 * `random` is from 0 to 1. Source: spec transports 1; M. Brooker, "Exponential Backoff And Jitter", AWS 2015.
 */
export function backOffMs(failures: number, random: number): number {
  return Math.min(longestMs, firstMs * 2 ** Math.min(failures, 20)) * random
}
