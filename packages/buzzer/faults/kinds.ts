import type { FaultKind } from './kind.ts'
import { clock } from './kinds/clock.ts'
import { damage } from './kinds/damage.ts'
import { kill } from './kinds/kill.ts'
import { lyingSync, power } from './kinds/power.ts'
import { rude } from './kinds/rude.ts'
import { shim } from './kinds/shim.ts'
import { stop } from './kinds/stop.ts'
import { syncOrder } from './kinds/sync-order.ts'
import { syscallKinds } from './kinds/syscalls.ts'

/** In the order in which they run. */
export const kinds: readonly FaultKind[] = [
  kill,
  ...syscallKinds,
  syncOrder,
  shim,
  power,
  lyingSync,
  damage,
  clock,
  stop,
  rude,
]
