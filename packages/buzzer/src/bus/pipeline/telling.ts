import type { BusCore } from '../bus-core.ts'
import type { ObservedMessage } from '../bus-observer.ts'
import type { Route } from '../handler.ts'
import type { Incoming } from './incoming.ts'
import type { DeliveryEnd } from './queue-view.ts'

/** What observers are told of a message: as it was handled, as far as it got. */
export interface Subject {
  readonly incoming: Incoming
  readonly route: Route | undefined
  readonly message: unknown
  readonly attempt: number
}

/** A handler run has ended; without an error it succeeded. */
export function tellAttempt(core: BusCore, subject: Subject, error: unknown): void {
  if (core.observers.size === 0) return
  const seen = observed(subject)
  for (const observer of core.observers) observer.attempted?.(error === undefined ? seen : { ...seen, error })
}

/** A delivery has ended for good. */
export function tellEnd(
  core: BusCore,
  subject: Subject,
  as: DeliveryEnd,
  reason: string | undefined,
  error: unknown,
): void {
  if (core.observers.size === 0) return
  const seen = {
    ...observed(subject),
    as,
    ...(reason === undefined ? {} : { reason }),
    ...(error === undefined ? {} : { error }),
  }
  for (const observer of core.observers) observer.ended?.(seen)
}

function observed(subject: Subject): ObservedMessage & { readonly queue: string; readonly attempt: number } {
  const { incoming, route, message, attempt } = subject
  const { correlationid, causationid } = incoming.attributes
  return {
    id: incoming.id,
    type: incoming.type ?? '',
    headers: incoming.headers,
    conversationId: incoming.conversationId,
    queue: incoming.queue,
    attempt,
    ...(route === undefined ? {} : { contract: route.handler.contract }),
    ...(message === undefined ? {} : { message }),
    ...(causationid === undefined ? {} : { causationId: causationid }),
    ...(correlationid === undefined ? {} : { correlationId: correlationid }),
  }
}
