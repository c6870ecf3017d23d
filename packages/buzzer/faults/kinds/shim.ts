import type { FaultContext, FaultKind } from '../kind.ts'
import { freshPlace, judgePlace, runScenario } from '../once.ts'
import { shimEnv, shimMissing } from '../shim.ts'

/** Where a fault begins; from zero to a little behind where the scenario ends. */
interface ShimFault {
  readonly name: string
  readonly fault: (at: number) => string
  /** Of one scenario: how many writes, bytes or syncs there are, about. */
  readonly range: number
  readonly times: Readonly<Record<'short' | 'long', number>>
}

const shimFaults: readonly ShimFault[] = [
  { name: 'half a write, then death', fault: at => `short-write:${at}`, range: 600, times: { short: 5, long: 100 } },
  {
    name: 'disk full from a byte on',
    fault: at => `full-after:${at}`,
    range: 2_500_000,
    times: { short: 5, long: 60 },
  },
  { name: 'a sync that fails once', fault: at => `fail-sync:${at}`, range: 70, times: { short: 4, long: 70 } },
]

/** Spec broker 13.4: what strace cannot inject. */
export const shim: FaultKind = {
  name: 'shim',
  what: 'by a preloaded library: half a write and death, a disk that is full from some byte on, one sync that fails',
  missing: shimMissing,
  async run(context) {
    for (const fault of shimFaults) await injectAll(context, fault)
  },
}

async function injectAll({ folder, random, report, size }: FaultContext, fault: ShimFault): Promise<void> {
  const times = fault.times[size]
  for (let time = 0; time < times; time++) {
    const place = freshPlace(folder)
    // Spread over the whole range, one in each part of it.
    const at = 1 + Math.floor(((time + random()) / times) * fault.range)
    const label = `${fault.name}, ${fault.fault(at)}`
    const env = shimEnv(folder, { path: place.folder, fault: fault.fault(at) })
    const { code, errors } = await runScenario(place, { env })
    const wrong = (what: string): void => report.violations(label, [{ rule: 'liveness', what }], place.folder)
    if (code === 'late') wrong('the process did not end within a minute')
    if (code === 1) wrong(`the process fell over: ${errors.slice(0, 2_000)}`)
    report.injected(code === 0 ? `${fault.name} (passed untouched, or refused and gone on)` : fault.name)
    await judgePlace(place, label, report)
  }
}
