import { backlog, type BacklogKind } from '../contenders/backlog/backlog-file.ts'
import { fallingDue } from '../contenders/backlog/due.ts'
import { flowBeside } from '../contenders/backlog/flow-beside.ts'
import { startWith } from '../contenders/backlog/start.ts'
import type { FigureBar, Suite } from '../suite.ts'

const inFlight = 1_000
const perSecond = 10_000
const many = backlog.toLocaleString('en-US')

/** Source: spec broker 12. "As when empty" is taken as: within a fifth. */
function startBars(ours: BacklogKind): readonly FigureBar[] {
  const contender = ours === 'keyed' ? 'empty, keyed' : 'empty'
  return [
    { ours, figure: 'start ms', atMost: 2_000 },
    { ours, figure: 'first delivery ms', atMost: 100 },
    { ours, figure: 'resident MB', atMost: 150, comparedWith: { as: 'above', contender } },
    ...['send ms', 'counts ms', 'peek ms'].map(
      figure => ({ ours, figure, atMost: 1.2, comparedWith: { as: 'times', contender } }) as const,
    ),
  ]
}

const backlogs = ['chunks', 'keyed', 'rows', 'scheduled'] as const

export const suite: Suite = {
  title: `The embedded broker with ${many} messages of 200 bytes waiting`,
  cases: [
    {
      name: 'start and first looks',
      operation: `process that starts on the file: chunks and keyed as they come under load, rows one message each in 100 queues, scheduled for next week; send, counts and peek are the median of 200`,
      measure: 'figures',
      operations: 1,
      contenders: (['empty', 'empty, keyed', ...backlogs] as const).map(kind => startWith(kind)),
      bars: backlogs.flatMap(kind => startBars(kind)),
    },
    {
      name: 'publish → handle → acknowledge beside the backlog',
      operation: `JSON message of 200 bytes published to the queue in which the others wait, and one from its head handled and acknowledged; ${inFlight} in flight`,
      measure: 'per-second',
      contenders: (['empty', 'chunks', 'scheduled', 'empty, keyed', 'keyed'] as const).map(kind =>
        flowBeside(kind, inFlight),
      ),
      bars: [
        { ours: 'chunks', rival: 'empty', atLeast: 0.8 },
        { ours: 'scheduled', rival: 'empty', atLeast: 0.8 },
        { ours: 'keyed', rival: 'empty, keyed', atLeast: 0.8 },
      ],
    },
    {
      name: 'falling due',
      operation: `scheduled message, ${perSecond.toLocaleString('en-US')} due each second: how late its handler starts`,
      measure: 'latency',
      operations: 2 * perSecond,
      contenders: [fallingDue('empty', perSecond), fallingDue('scheduled', perSecond)],
      bars: [{ ours: 'scheduled', figure: 'highest ms', atMost: 100 }],
    },
  ],
}
