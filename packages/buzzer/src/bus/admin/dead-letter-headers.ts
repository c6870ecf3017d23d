import type { JsonObject, MessageHeaders } from '../../message/index.ts'
import type { PeekedMessage } from '../../transport/index.ts'
import type { BusCore } from '../bus-core.ts'

/** Headers of a copy in `<queue>.dead`, where the broker has no dead letters of its own. */
export function deadLetterHeaders(
  core: Pick<BusCore, 'clock'>,
  queue: string,
  reason: string,
  detail: JsonObject,
): Readonly<Record<string, string>> {
  return {
    'buzzer-dead-queue': queue,
    'buzzer-dead-reason': reason,
    'buzzer-dead-at': String(core.clock.now()),
    'buzzer-dead-detail': JSON.stringify(detail),
  }
}

/** Takes what we wrote into the headers of the copy back out of them. */
export function fromDeadHeaders<T extends { readonly headers: MessageHeaders; readonly enqueuedAt: number }>(
  copy: T,
): T & { readonly deadLetter: NonNullable<PeekedMessage['deadLetter']> } {
  const {
    'buzzer-dead-queue': _,
    'buzzer-dead-reason': reason = 'unknown',
    'buzzer-dead-at': at,
    'buzzer-dead-detail': text,
    ...headers
  } = copy.headers
  let detail: JsonObject | undefined
  try {
    detail = text === undefined ? undefined : (JSON.parse(text) as JsonObject)
  } catch {
    // Written by something else: the reason has to do.
  }
  const deadAt = Number(at ?? copy.enqueuedAt)
  return { ...copy, headers, deadLetter: { reason, deadAt, ...(detail === undefined ? {} : { detail }) } }
}
