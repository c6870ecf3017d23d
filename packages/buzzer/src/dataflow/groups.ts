import { type Intake, WaitingSend } from './intake.ts'
import type { LinkState } from './link-state.ts'
import type { Outlet } from './outlet.ts'

/** Somebody in a line whose item can be taken now. */
export type Candidate<I> = WaitingSend<I> | LinkState<I>

/**
 * How many items of each source a group under way has already spoken for. One source may be linked more than once to
 * the same group: its second link then counts on the item behind the head.
 */
export type Spoken = Map<Outlet<never>, number>

/** The next candidate in line, from `from` on. Calls no function of the user but a broadcast's `clone`. */
export function nextCandidate<I>(from: Candidate<I> | undefined, spoken: Spoken): Candidate<I> | undefined {
  for (let waiter = from; waiter !== undefined; waiter = waiter.next as Candidate<I> | undefined) {
    if (waiter instanceof WaitingSend) return waiter
    const source = waiter.source as unknown as Outlet<never>
    const offset = spoken.get(source) ?? 0
    if (!waiter.source.hasFor(waiter, offset)) continue
    spoken.set(source, offset + 1)
    return waiter
  }
  return undefined
}

/** Takes what the candidate has. In one step with finding it. */
export function takeFrom<I>(intake: Intake<I>, candidate: Candidate<I>): I {
  intake.owned++
  intake.life.accepted++
  candidate.leave()
  if (!(candidate instanceof WaitingSend)) return candidate.source.takeFor(candidate)
  candidate.resolve()
  return candidate.item
}

/** Takes one item of each of the first `most` candidates, in the order of the line; nothing when there are fewer than `least`. */
export function formGroup<I>(intake: Intake<I>, least: number, most: number): I[] | undefined {
  const spoken: Spoken = new Map()
  const found: Candidate<I>[] = []
  let next: Candidate<I> | undefined = intake.line.head
  while (found.length < most && next !== undefined) {
    const candidate = nextCandidate(next, spoken)
    if (candidate === undefined) break
    found.push(candidate)
    next = candidate.next as Candidate<I> | undefined
  }
  if (found.length < least || found.length === 0) return undefined
  return found.map(candidate => takeFrom(intake, candidate))
}
