import { carrying } from './saboteurs/carrying.ts'
import { promising } from './saboteurs/promising.ts'
import type { Saboteur } from './saboteurs/saboteur.ts'
import { settling } from './saboteurs/settling.ts'

export { logSaboteurs } from './saboteurs/logs.ts'
export { storeSaboteurs } from './saboteurs/stores.ts'

/** Transports that break one duty each: the proof that every case of `transportConformance` can fail. */
export const transportSaboteurs: readonly Saboteur[] = [...carrying, ...settling, ...promising]
