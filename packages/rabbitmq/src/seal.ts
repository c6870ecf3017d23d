import { randomUUID } from 'node:crypto'
import type { ControlChannel } from './control-channel.ts'
import type { Names } from './names.ts'

/** A seal that its process could not delete any more goes by itself. */
const sealExpiresMs = 60_000

/**
 * Makes quorum queues that were declared just now outlive a kill of their node. The node notes the names of its quorum queues
 * in a file, but keeps the last entry in memory for up to a second. Killed within it, it brings that queue back empty and
 * without a leader, for good: what was confirmed is lost. An entry that follows pushes it out, so one more queue is declared,
 * and deleted. About 10 ms.
 * Source: `register_name` of ra_directory in the library ra, which looks up before it inserts; a lookup in a dets table writes
 * what waits.
 */
export async function sealQueues(control: ControlChannel, names: Names): Promise<void> {
  // A name of its own: to declare one that somebody else has declared would be no new entry.
  const seal = names.seal(randomUUID().slice(0, 8))
  const options = { durable: true, arguments: { 'x-queue-type': 'quorum', 'x-expires': sealExpiresMs } }
  await control.run(channel => channel.assertQueue(seal, options))
  await control.run(channel => channel.deleteQueue(seal))
}
