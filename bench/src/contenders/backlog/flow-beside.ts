import { createBus } from 'buzzer'
import { embedded } from 'buzzer/embedded'
import { Flow } from '../../flow.ts'
import { type Reading, reading, sequenceOf } from '../../reading.ts'
import type { Contender } from '../../suite.ts'
import { ReadingTaken } from '../buzzer.ts'
import { backlog, type BacklogKind, backlogFile, handlingQueue, isKeyed, keyOf } from './backlog-file.ts'

/**
 * Publish → handle → acknowledge in a queue in which a backlog waits: what is published stands at its end, what is handled
 * comes from its head, so it stays as long as it is. Between rounds the queue is paused.
 */
export function flowBeside(kind: BacklogKind, inFlight: number): Contender {
  return {
    name: kind,
    side: 'ours',
    durability: 'power loss (fsync before each answer)',
    async setup({ folder, sharedFolder }) {
      const transport = embedded({ path: await backlogFile(kind, folder, sharedFolder) })
      const bus = createBus({ name: 'bench', transport })
      const waitingFirst = kind.startsWith('empty') ? 0 : backlog
      let [published, handled, handledBefore] = [0, 0, 0]
      const flow = new Flow({
        inFlight,
        publish([message]) {
          published++
          // Sequences go on where the backlog ends.
          const sequence = backlog + handledBefore + sequenceOf(message as Reading)
          const options = isKeyed(kind) ? { key: keyOf(sequence) } : {}
          return bus.publish(ReadingTaken, reading(sequence), options)
        },
      })
      const seen = new Set<number>()
      let n = 0
      const queue = handlingQueue(bus, kind, message => {
        const sequence = sequenceOf(message)
        if (seen.has(sequence)) flow.fail(new Error(`message ${sequence} was handled twice`))
        seen.add(sequence)
        const inRound = handled++ - handledBefore
        // The head gives more than was asked for, until the pause takes hold.
        if (inRound < n) flow.handledMany(1, inRound)
      })
      await bus.start()
      let pausing = queue.pause()
      return {
        async run(operations) {
          await pausing
          n = operations
          handledBefore = handled
          const round = flow.run(n)
          await queue.resume()
          await round
          // Giving back what was fetched beyond the round is no part of it.
          pausing = queue.pause()
        },
        async teardown() {
          await pausing
          const [figures] = await bus.admin.queues()
          const left = (figures?.ready ?? 0) + (figures?.locked ?? 0) + (figures?.scheduled ?? 0)
          const expected = waitingFirst + published - handled
          if (left !== expected) throw new Error(`${left} messages are left instead of ${expected}`)
          await bus.stop()
        },
      }
    },
  }
}
