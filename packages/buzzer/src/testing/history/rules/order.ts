import { type Copy, type Evidence, movedAt, placeOf } from '../evidence.ts'
import { recordsOf } from '../history-record.ts'
import { type Handling, isCompletion } from '../handling.ts'
import { laneOf } from './lane.ts'
import type { Rule } from './rule.ts'

/**
 * In a lane, a key or a queue, first handlings start in the order of acceptance; what waits there stands in it. Scheduled
 * messages come in the order of falling due. Where that is promised, a message that comes back is the next one.
 */
export const order: Rule = function* (evidence, promises) {
  for (const [lane, copies] of Map.groupBy(inOrderOfService(evidence), ({ message }) => laneOf(message, promises))) {
    if (lane === undefined) continue
    const plain = copies.filter(({ message, step }) => message.due === undefined && step.sources.length === 0)
    if (promises.acceptance === 'calls') yield* againstCalls(lane, plain)
    yield* againstConfirmations(lane, plain)
    yield* againstDueTimes(lane, copies, evidence)
  }
  if (!promises.keyWaits) return
  for (const [lane, own] of Map.groupBy(evidence.handlings, ({ begun }) => laneOf(begun, promises))) {
    if (lane !== undefined) yield* overtaken(lane, own, evidence)
  }
}

/** Each message once, by its first handling, then what waits. What an operator moved has no place. */
function inOrderOfService(evidence: Evidence): Copy[] {
  const { handled, handlings, history, copies } = evidence
  const waiting = recordsOf(history, 'present').filter(({ state }) => state !== 'dead' && state !== 'parked')
  const places = new Set([...handlings.map(({ place }) => place), ...waiting.map(placeOf)])
  return [...places]
    .flatMap(place => copies.get(place) ?? [])
    .filter(({ message, place }) => movedAt(evidence, message) > (handled.get(place)?.[0]?.begun.at ?? -Infinity))
    .filter(({ message, place }) => handled.has(place) || movedAt(evidence, message) === Infinity)
}

function* againstCalls(lane: string, copies: readonly Copy[]): Generator<string> {
  const latest = new Map<string, Copy>()
  for (const copy of copies) {
    const before = latest.get(copy.step.process)
    if (before === undefined || before.number < copy.number) latest.set(copy.step.process, copy)
    else yield `lane ${lane}: ${copy.message.id} came after ${before.message.id}, which was sent later`
  }
}

function* againstConfirmations(lane: string, copies: readonly Copy[]): Generator<string> {
  let latest: Copy | undefined
  for (const copy of copies) {
    if (latest !== undefined && copy.outcome === 'ok' && copy.step.endedAt < latest.step.at) {
      yield `lane ${lane}: ${copy.message.id} came after ${latest.message.id}, which was sent after it was confirmed`
    }
    if (latest === undefined || copy.step.at > latest.step.at) latest = copy
  }
}

function* againstDueTimes(lane: string, copies: readonly Copy[], { handled }: Evidence): Generator<string> {
  let latest: { readonly copy: Copy; readonly due: number } | undefined
  for (const copy of copies) {
    const { due } = copy.message
    if (due === undefined || !handled.has(copy.place)) continue
    const { endedWall = Infinity } = copy.step
    if (latest !== undefined && due < latest.due && endedWall < latest.due) {
      yield `lane ${lane}: ${copy.message.id} came after ${latest.copy.message.id}, which fell due later`
    }
    if (latest === undefined || due > latest.due) latest = { copy, due }
  }
}

/** Between two handlings of one message no other of its lane begins, unless the first may have been its last. */
function* overtaken(lane: string, own: readonly Handling[], evidence: Evidence): Generator<string> {
  const last = new Map(own.map(handling => [handling.place, handling]))
  let coming: Handling | undefined
  for (const handling of own) {
    if (coming !== undefined && coming.place !== handling.place && coming.endedAt <= handling.begun.at) {
      yield `lane ${lane}: ${handling.begun.id} began before ${coming.begun.id} came back`
    }
    const isLast = last.get(handling.place) === handling
    const wasMoved = movedAt(evidence, handling.begun) < Infinity
    const mayBeOver = isCompletion(handling) || handling.how === 'dead-letter' || handling.how === 'park'
    coming = isLast || wasMoved || mayBeOver ? undefined : handling
  }
}
