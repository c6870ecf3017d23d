/** How a case ended that did not fail. A case that fails rejects. */
export type CaseOutcome = { readonly as: 'passed' } | { readonly as: 'not-applicable'; readonly reason: string }

/** One sentence about behaviour that an implementation of a contract keeps. */
export interface ConformanceCase {
  readonly name: string
  /** Where the behaviour is promised. */
  readonly source: string
  /** Runs on resources of its own and cleans up. Rejects with an `AssertionError` when the behaviour is not there. */
  run(): Promise<CaseOutcome>
}

/** What the suites of transports, stores and logs have in common. `needs` answers the reason why a case does not apply. */
export interface WorldCase<W> {
  readonly name: string
  readonly source: string
  readonly needs?: (world: W) => string | undefined
  readonly run: (world: W) => Promise<void>
}

/** Each case in a world of its own, opened before and closed after it, whatever happened. */
export function casesInWorlds<W extends { open(): Promise<void>; close(): Promise<void> }>(
  where: string,
  cases: readonly WorldCase<W>[],
  exceptions: Readonly<Record<string, string>> | undefined,
  makeWorld: () => W,
): readonly ConformanceCase[] {
  return cases.map(one => ({
    name: `${where}: ${one.name}`,
    source: one.source,
    async run() {
      const reason = exceptions?.[one.name]
      if (reason !== undefined) return { as: 'not-applicable', reason }
      const world = makeWorld()
      try {
        await world.open()
        const inapplicable = one.needs?.(world)
        if (inapplicable !== undefined) return { as: 'not-applicable', reason: inapplicable }
        await one.run(world)
        return { as: 'passed' }
      } finally {
        await world.close()
      }
    },
  }))
}

/** What a test framework calls its test function; that of vitest and of `node:test` fit as they are. */
export type TestFunction = (name: string, run: (context: TestContext) => Promise<void>) => unknown

export interface TestContext {
  /** Marks the running test as skipped; what is told is shown in the report. */
  skip(reason?: string): unknown
}

/**
 * Makes each case a test of the framework given. A case that does not apply is reported as skipped with its reason.
 *
 * ```ts
 * import { test } from 'vitest'
 * runCases(transportConformance({ name: 'mine', create }), test)
 * ```
 */
export function runCases(cases: readonly ConformanceCase[], test: TestFunction): void {
  for (const one of cases) {
    test(one.name, async context => {
      const outcome = await one.run()
      if (outcome.as === 'not-applicable') context.skip(outcome.reason)
    })
  }
}
