import { type AnsweredRecord, type BegunRecord, type HistoryRecord, recordsOf } from './history-record.ts'

/** One call of a handler, from its beginning to its answer or its process's death. */
export interface Handling {
  readonly place: string
  readonly begun: BegunRecord
  /** When it ended at the earliest: answered, its process killed or closed, or `Infinity`. */
  readonly endedAt: number
  readonly how: AnsweredRecord['how'] | 'killed' | 'closed' | 'open'
  /** Its last answer that was not refused. */
  readonly answer: AnsweredRecord | undefined
  /** It answered after its lock was lost: the broker said so, or another handling of the message had begun. */
  readonly isFenced: boolean
  /** It answered for a group that never became whole, which must change nothing. */
  readonly isPartial: boolean
}

/** Nothing is owed for the message any more, if the settlement became durable. */
export function isCompletion({ how, isFenced, isPartial }: Handling): boolean {
  return how === 'ack' && !isFenced && !isPartial
}

/** Its delivery does not count: the message was given back, or its process closed in good order. */
export function isUncounted({ how }: Handling): boolean {
  return how === 'release' || how === 'park' || how === 'closed'
}

/** All handlings in the order of their beginnings. */
export function handlingsOf(history: readonly HistoryRecord[]): Handling[] {
  const deaths = new Map(recordsOf(history, 'killed').map(({ process, at }) => [process, at]))
  const ends = new Map(recordsOf(history, 'ended').map(({ process, at }) => [process, at]))
  const open = paired(history)
  const beginnings = Map.groupBy(open, ({ place }) => place)
  const groups = Map.groupBy(
    open.flatMap(({ answer }) => answer?.group ?? []),
    ({ id }) => id,
  )
  return open.map(({ place, begun, answer, lostAt }): Handling => {
    const death = deaths.get(begun.process)
    const closedAt = ends.get(begun.process) ?? Infinity
    if (answer !== undefined) {
      const isOvertaken = (beginnings.get(place) ?? []).some(
        other => other.begun.at > begun.at && other.begun.at < answer.at,
      )
      const isClosed = closedAt <= answer.at
      const isFenced = isOvertaken || isClosed || (lostAt !== undefined && lostAt <= answer.at)
      const { group } = answer
      const isPartial = group !== undefined && (groups.get(group.id)?.length ?? 0) < group.size
      const how = isClosed ? 'closed' : answer.how
      return { place, begun, endedAt: Math.min(answer.at, closedAt), how, answer, isFenced, isPartial }
    }
    // The kill was noted before the signal: what began between the two ended at once.
    const endedAt = Math.max(death ?? closedAt, begun.at)
    const how = death !== undefined ? 'killed' : closedAt < Infinity ? 'closed' : 'open'
    return { place, begun, endedAt, how, answer, isFenced: false, isPartial: false }
  })
}

interface Draft {
  readonly place: string
  readonly begun: BegunRecord
  answer: AnsweredRecord | undefined
  lostAt: number | undefined
}

/** A broken broker may hand out one attempt twice: the answers come in the order of the beginnings. */
function paired(history: readonly HistoryRecord[]): Draft[] {
  const drafts: Draft[] = []
  const byDelivery = new Map<string, Draft[]>()
  const records = recordsOf(history, 'begun', 'answered', 'refused', 'lost').toSorted((a, b) => a.at - b.at)
  for (const record of records) {
    const delivery = `${record.process} ${record.queue} ${record.id} ${record.attempt}`
    const own = byDelivery.get(delivery) ?? []
    byDelivery.set(delivery, own)
    switch (record.as) {
      case 'begun': {
        const draft: Draft = {
          place: `${record.queue}/${record.id}`,
          begun: record,
          answer: undefined,
          lostAt: undefined,
        }
        drafts.push(draft)
        own.push(draft)
        break
      }
      case 'answered': {
        const draft = own.find(({ answer }) => answer === undefined)
        if (draft === undefined) throw new TypeError(`history: ${delivery} was answered more often than it was begun`)
        draft.answer = record
        break
      }
      case 'refused': {
        const draft = own.findLast(({ answer }) => answer !== undefined)
        if (draft !== undefined) draft.answer = undefined
        break
      }
      case 'lost': {
        const draft = own.at(-1)
        if (draft !== undefined) draft.lostAt ??= record.at
        break
      }
      default:
        record satisfies never
    }
  }
  return drafts
}
