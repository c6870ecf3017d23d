import { checkFile, embedded } from '../src/broker/index.ts'
import { type Logger, silentLogger } from '../src/message/index.ts'
import {
  checkHistory,
  type HistoryRecord,
  Journal,
  journalled,
  machineClock,
  type Promises,
  readJournals,
  type Violation,
} from '../src/testing/index.ts'
import { drainMsPerMessage, endRun } from './ending.ts'
import { consume } from './participation.ts'
import { orderOf, queuesOf, topology } from './workload.ts'

/** By which the embedded broker's runs are judged: strictly; its queues have different orders. */
export const embeddedPromises: Promises = { orderBy: orderOf, drainMsPerMessage }

/**
 * Opens the file as the next process would, drains it, sends once more, and notes what is there. An error of the recovery
 * is thrown: it is the caller's to judge.
 */
export async function recover(path: string, journals: string, logger: Logger = silentLogger): Promise<void> {
  const journal = new Journal(journals, 'recovery')
  const write = (record: HistoryRecord): void => journal.write(record)
  const transport = embedded({ path })
  try {
    await transport.connect({ logger })
    // What the fault kept from being declared: so that the recovery can receive from everything.
    await transport.declare(topology)
    const consumer = journalled(transport, { process: 'recovery', write, queuesOf })
    const stop = new AbortController()
    const receivers = await consume({
      process: 'recovery',
      transport: consumer,
      admin: transport.admin,
      write,
      random: () => 1,
      stop: stop.signal,
    })
    await endRun(transport, write, () => readJournals(journals))
    await Promise.all(receivers.map(receiver => receiver.stop()))
    write({ as: 'ended', process: 'recovery', at: machineClock.monotonic() })
  } finally {
    await transport.close()
    journal.close()
  }
}

/** As `recover`, and judges the whole history. */
export async function recoverAndJudge(
  path: string,
  journals: string,
  options: { readonly promises?: Promises; readonly logger?: Logger } = {},
): Promise<readonly Violation[]> {
  await recover(path, journals, options.logger)
  const violations = checkHistory(readJournals(journals), { ...embeddedPromises, ...options.promises })
  const { problems } = checkFile(path)
  return [
    ...violations,
    ...problems.map(({ kind, where, detail }) => ({
      rule: 'durability' as const,
      what: `${kind} ${where}: ${detail}`,
    })),
  ]
}
