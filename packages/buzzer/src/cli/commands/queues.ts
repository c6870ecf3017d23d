import type { Command } from 'commander'
import type { QueueOverview } from '../../bus/index.ts'
import { age, type Column } from '../output.ts'
import { withBus, type Session } from '../session.ts'

const columns = (now: number): readonly Column<QueueOverview>[] => [
  { title: 'QUEUE', cell: ({ name }) => name },
  { title: 'READY', cell: ({ ready }) => String(ready) },
  { title: 'LOCKED', cell: ({ locked }) => String(locked) },
  { title: 'SCHEDULED', cell: ({ scheduled }) => String(scheduled) },
  { title: 'DEAD', cell: ({ dead }) => String(dead) },
  { title: 'RECEIVERS', cell: ({ receivers }) => String(receivers) },
  {
    title: 'OLDEST',
    cell: ({ oldestReadyAt }) => (oldestReadyAt === undefined ? '–' : age(oldestReadyAt, now)),
  },
]

/** `buzzer queues` */
export function addQueuesCommand(program: Command, session: () => Session): void {
  program
    .command('queues')
    .description('what waits, runs, is scheduled and is dead, queue by queue')
    .addHelpText('after', '\nExample:\n  $ buzzer queues --file ./data/shop.db')
    .action(async () => {
      const at = session()
      const queues = await withBus(at, bus => bus.admin.queues())
      at.output.rows(queues, columns(at.console.now()), 'no queues')
    })
}
