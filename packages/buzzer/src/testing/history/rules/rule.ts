import type { Evidence } from '../evidence.ts'
import type { FullPromises } from '../promises.ts'

/** Yields a sentence for each time its promise was broken. */
export type Rule = (evidence: Evidence, promises: FullPromises) => Iterable<string>
