import { findInCauses, hasCode, type Logger, type RetryLaterError } from '../message/index.ts'
import type { BusCore } from './bus-core.ts'
import type { RetryPolicy } from './options.ts'

/** A retry policy with nothing left open. */
export interface ResolvedRetry {
  readonly immediate: number
  readonly delayedMs: readonly number[]
  readonly jitter: number
  readonly maxDeliveries: number
  readonly decide: RetryPolicy['decide']
}

const defaultDelaysMs: readonly number[] = [10_000, 60_000, 300_000]

/**
 * Fills what a policy leaves out. A message that always fails runs (immediate + 1) × (delayedMs.length + 1) times.
 * Source: spec bus 4.4.
 */
export function resolveRetry(given: RetryPolicy | 'none' | undefined): ResolvedRetry {
  const policy: RetryPolicy = given === 'none' ? { immediate: 0, delayedMs: [] } : (given ?? {})
  const delayedMs = policy.delayedMs ?? defaultDelaysMs
  return {
    immediate: policy.immediate ?? 3,
    delayedMs,
    jitter: policy.jitter ?? 0.2,
    maxDeliveries: policy.maxDeliveries ?? Math.max(delayedMs.length + 1, 5),
    // Called as a method, so that a policy may be an object with state.
    decide: policy.decide === undefined ? undefined : (error, attempt) => policy.decide?.(error, attempt) ?? 'default',
  }
}

/** Whether a retry must be a copy: the broker cannot count deliveries, or cannot hold the message for so long. */
export function retriesByCopy(core: Pick<BusCore, 'capabilities'>, delayMs: number): boolean {
  return core.capabilities.redelivery !== 'counted' || delayMs > core.capabilities.delayMaxMs
}

/** Whether a delivery is the last one that may fail and come back. */
export function isLastRound(retry: ResolvedRetry, delivery: number): boolean {
  return delivery > retry.delayedMs.length
}

/** The wait after failing in that delivery: never shorter than stated. */
export function roundDelayMs(retry: ResolvedRetry, delivery: number, random: () => number): number {
  return Math.round((retry.delayedMs[delivery - 1] ?? 0) * (1 + retry.jitter * random()))
}

/** The number that `ctx.attempt` shows: exact, except that runs skipped by a crash count as used. */
export function attemptNumber(retry: ResolvedRetry, delivery: number, run: number): number {
  return (delivery - 1) * (retry.immediate + 1) + run
}

/** What the policy's `decide`, else a `RetryLaterError` along the causes, says of a retryable failure. */
export function decideRetry(
  retry: ResolvedRetry,
  error: unknown,
  attempt: number,
  logger: Logger,
): 'default' | 'dead-letter' | { readonly delayMs: number } {
  if (retry.decide !== undefined) {
    try {
      const decided = retry.decide(error, attempt)
      if (decided !== 'default') return decided
    } catch (thrown) {
      logger.error({ error: thrown, attempt }, 'retry.decide threw; it counts as default')
    }
  }
  const later = findInCauses(error, (link): link is RetryLaterError => hasCode(link, 'BUZZER_RETRY_LATER'))
  return later === undefined ? 'default' : { delayMs: Math.max(0, later.delayMs) }
}
