import { setTimeout as sleep } from 'node:timers/promises'
import { Crew } from '../crew.ts'
import { always, type FaultContext, type FaultKind } from '../kind.ts'
import { needlessLosses } from '../needless-losses.ts'
import { freshPlace } from '../once.ts'

const lockMs = 3_000
const stallMs = 4_000
const rounds = { short: 1, long: 8 } as const

type Whom = 'consumer' | 'owner'

interface Act {
  readonly name: string
  readonly whom: Whom
  readonly how: 'stop' | 'spin'
  readonly ms: number
}

const acts: readonly Act[] = [
  { name: 'consumer stopped shorter than lockMs', whom: 'consumer', how: 'stop', ms: lockMs / 3 },
  { name: 'consumer stopped longer than lockMs', whom: 'consumer', how: 'stop', ms: lockMs * 1.6 },
  { name: 'owner stopped shorter than lockMs', whom: 'owner', how: 'stop', ms: lockMs / 3 },
  { name: 'owner stopped longer than lockMs', whom: 'owner', how: 'stop', ms: lockMs * 1.6 },
  { name: 'a handler spins shorter than stallMs', whom: 'consumer', how: 'spin', ms: stallMs / 3 },
  { name: 'a handler spins longer than stallMs', whom: 'consumer', how: 'spin', ms: stallMs * 1.6 },
  { name: 'a handler spins in the owner', whom: 'owner', how: 'spin', ms: stallMs * 1.6 },
]

/** Spec broker 13.8. Whoever wakes must find that others went on, or that nobody did; nothing is done twice. */
export const stop: FaultKind = {
  name: 'stop',
  what: 'SIGSTOP of a consumer and of the owner, and a handler that spins, shorter and longer than their locks live',
  missing: always,
  async run(context) {
    for (let round = 1; round <= (context.count ?? rounds[context.size]); round++) await stopRound(context, round)
  },
}

async function stopRound({ folder, random, report }: FaultContext, round: number): Promise<void> {
  const place = freshPlace(folder)
  const crew = new Crew({ place, random, lockMs, stallMs })
  const label = `stop, round ${round}`
  try {
    await crew.start()
    for (const act of acts.toSorted(() => random() - 0.5)) {
      await sleep(200 + random() * 500)
      const slot = slotOf(crew, act.whom)
      if (slot < 0) continue
      if (act.how === 'stop') await crew.stop(slot, act.ms)
      else await crew.spin(slot, act.ms)
      report.injected(act.name)
    }
    report.violations(label, [...(await crew.finish()), ...needlessLosses(place.journals)], place.folder)
  } catch (error) {
    report.violations(label, [{ rule: 'liveness', what: String((error as Error).stack) }], place.folder)
  } finally {
    await crew.end()
  }
}

function slotOf(crew: Crew, whom: Whom): number {
  const owner = crew.ownerSlot()
  if (whom === 'owner') return owner
  return crew.members.findIndex(({ role }, slot) => role === 'consumer' && slot !== owner)
}
