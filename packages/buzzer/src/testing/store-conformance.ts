import { casesInWorlds, type ConformanceCase } from './conformance/case.ts'
import { type StoreCase, type StoreConformanceOptions, StoreWorld } from './conformance/store-world.ts'
import { indexes } from './store-cases/indexes.ts'
import { records } from './store-cases/records.ts'

export type { StoreConformanceOptions } from './conformance/store-world.ts'

const storeCases: readonly StoreCase[] = [...records, ...indexes]

/**
 * What every store owes: one case per promise, each on collections of its own, so all may run at once against one store.
 * Cases for capabilities a store does not claim are reported as not applicable with the reason. Runs on the real clock and
 * depends on no test framework; see `runCases`. Source: spec bus 3.
 */
export function storeConformance(options: StoreConformanceOptions): readonly ConformanceCase[] {
  return casesInWorlds(options.name, storeCases, options.exceptions, () => new StoreWorld(options))
}
