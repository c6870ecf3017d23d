import type { TransportAdmin } from '../../transport/index.ts'
import type { HistoryRecord, PresentRecord } from './history-record.ts'
import { digestOf } from './journalled.ts'

/**
 * Writes down what lies in some queues, dead letters included, as `checkHistory` wants it at the end of a run. For brokers
 * that can be peeked at; call it when no delivery is open.
 *
 * @returns how many messages wait: ready, locked or scheduled
 */
export async function notePresent(
  admin: Pick<Required<TransportAdmin>, 'peek'>,
  queues: readonly string[],
  write: (record: HistoryRecord) => void,
): Promise<number> {
  let waiting = 0
  for (const queue of queues) {
    let after: string | undefined
    do {
      const page = await admin.peek(queue, { limit: 1_000, ...(after === undefined ? {} : { after }) })
      for (const message of page.items) {
        const { messageId: id, state, attempt, key } = message
        const record: PresentRecord = {
          as: 'present',
          id,
          queue,
          state,
          hash: digestOf(message),
          attempt,
          ...(key === undefined ? {} : { key }),
          ...(message.deadLetter?.reason === 'damaged' ? { isDamaged: true } : {}),
        }
        write(record)
        if (state === 'ready' || state === 'locked' || state === 'scheduled') waiting++
      }
      after = page.next
    } while (after !== undefined)
  }
  return waiting
}
