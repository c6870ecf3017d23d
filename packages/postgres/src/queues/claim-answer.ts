import { ChunkLease, type Held } from './lease.ts'
import { decodeRecord } from './message-record.ts'
import type { ServerTime } from './server-time.ts'

type ChunkItem = [kind: 0, rank: number, next: number, n: number, acceptedAt: number, sizes: readonly number[]]
type SingleItem = [
  kind: 1,
  rank: number,
  attempt: number,
  acceptedAt: number,
  size: number,
  reason: string | null,
  detail: string | null,
  deadAt: number | null,
]
type HeadItem = [kind: 2, rank: number, attempt: number, acceptedAt: number, size: number, key: string]

/** What the function `claim` says. */
export interface ClaimAnswer {
  readonly as: 'claimed' | 'gone' | 'keyed'
  /** The server's time. */
  readonly now: number
  readonly lease: number | null
  readonly items: readonly (ChunkItem | SingleItem | HeadItem)[] | null
  /** Nothing is left that we could have, and the server has noted that we wait. */
  readonly drained: boolean
  /** There is something, but others were looking at it in that moment. */
  readonly busy: boolean
  /** When the next message falls due, by the server's clock. */
  readonly due: number | null
  /** What it cost the server, in milliseconds. */
  readonly took: number
}

/** The messages of a chunk that was leased as it was stored. */
export function heldAsStored(
  records: readonly Buffer[],
  chunk: ChunkLease,
  leasedAt: number,
  enqueuedAt: number,
): readonly Held[] {
  return records.map((record, index) => ({
    place: { kind: 'chunk', chunk, index },
    message: decodeRecord(record, 0, record.byteLength),
    attempt: 1,
    enqueuedAt,
    leasedAt,
    dead: undefined,
  }))
}

/** The lowest rank in an answer; `undefined` when there is nothing in it. */
export function lowestRank(answer: ClaimAnswer): number | undefined {
  let lowest: number | undefined
  for (const [, rank] of answer.items ?? []) if (lowest === undefined || rank < lowest) lowest = rank
  return lowest
}

/** The messages of an answer, in the order in which they are to be handed out. */
export function heldOf(
  answer: ClaimAnswer,
  data: Buffer,
  queue: number,
  leasedAt: number,
  time: ServerTime,
): readonly Held[] {
  const held: Held[] = []
  const lease = answer.lease as number
  let start = 0
  for (const item of answer.items ?? []) {
    switch (item[0]) {
      case 0: {
        const [, rank, next, n, acceptedAt, sizes] = item
        const chunk = new ChunkLease(rank, lease, next, n)
        const enqueuedAt = time.toOurs(acceptedAt)
        for (const [at, size] of sizes.entries()) {
          const place = { kind: 'chunk', chunk, index: next + at } as const
          held.push({
            place,
            message: decodeRecord(data, start, size),
            attempt: 1,
            enqueuedAt,
            leasedAt,
            dead: undefined,
          })
          start += size
        }
        break
      }
      case 1: {
        const [, rank, attempt, acceptedAt, size, reason, detail, deadAt] = item
        held.push({
          place: { kind: 'single', rank, lease },
          message: decodeRecord(data, start, size),
          attempt,
          enqueuedAt: time.toOurs(acceptedAt),
          leasedAt,
          dead:
            reason === null
              ? undefined
              : { reason, detail: detail ?? undefined, deadAt: time.toOurs(deadAt as number) },
        })
        start += size
        break
      }
      case 2: {
        const [, rank, attempt, acceptedAt, size, key] = item
        held.push({
          place: { kind: 'head', queue, key: key.replaceAll('\n', ''), rank, lease },
          message: decodeRecord(data, start, size),
          attempt,
          enqueuedAt: time.toOurs(acceptedAt),
          leasedAt,
          dead: undefined,
        })
        start += size
        break
      }
      default:
        item satisfies never
    }
  }
  return held
}
