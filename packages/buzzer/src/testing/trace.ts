import { BuzzerError } from '../message/index.ts'
import type { Happening } from './recorder.ts'

/** A message, what became of it in each queue, and what its handlers emitted. */
export interface TraceNode {
  readonly id: string
  readonly type: string
  /** When the broker accepted it; absent for a message that came from elsewhere. */
  readonly emittedAt?: Date
  readonly ends: readonly {
    readonly queue: string
    readonly as: 'consumed' | 'dead-lettered'
    readonly attempts: number
    readonly at: Date
    readonly error?: unknown
  }[]
  /** What was emitted while it was handled, in order. */
  readonly caused: readonly TraceNode[]
}

/** Who caused what, from one message on. @throws BUZZER_INVALID_OPTION for a message that was never seen */
export function traceOf(happenings: readonly Happening[], messageId: string): TraceNode {
  if (!happenings.some(one => one.id === messageId)) {
    throw new BuzzerError('BUZZER_INVALID_OPTION', `no message ${messageId} was seen on this bus`, {
      details: { messageId },
    })
  }
  return nodeOf(happenings, messageId, new Set())
}

function nodeOf(happenings: readonly Happening[], id: string, above: ReadonlySet<string>): TraceNode {
  const own = happenings.filter(one => one.id === id)
  const emitted = own.find(one => one.what === 'emitted')
  const path = new Set([...above, id])
  const causedIds = new Set(
    happenings.filter(one => one.what === 'emitted' && one.causationId === id && !path.has(one.id)).map(one => one.id),
  )
  return {
    id,
    type: (own[0] as Happening).type,
    ...(emitted === undefined ? {} : { emittedAt: emitted.at }),
    ends: own.flatMap(one =>
      one.what === 'consumed' || one.what === 'dead-lettered'
        ? [
            {
              queue: one.queue ?? '',
              as: one.what,
              attempts: one.attempt ?? 0,
              at: one.at,
              ...(one.error === undefined ? {} : { error: one.error }),
            },
          ]
        : [],
    ),
    caused: [...causedIds].map(caused => nodeOf(happenings, caused, path)),
  }
}
