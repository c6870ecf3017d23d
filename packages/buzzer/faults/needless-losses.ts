import { readJournals, recordsOf, type Violation } from '../src/testing/index.ts'

/** Only who was stopped, blocked or cut off loses locks. Of runs in which nobody that owned the file was killed. */
export function needlessLosses(journals: string): readonly Violation[] {
  const history = readJournals(journals)
  const harmed = new Set(recordsOf(history, 'stopped', 'cut').map(({ process }) => process))
  return recordsOf(history, 'lost')
    .filter(({ process }) => !harmed.has(process))
    .map(({ process, queue, id }) => ({
      rule: 'exclusion',
      what: `nothing was done to ${process}, and it lost the lock of ${queue}/${id}`,
    }))
}
