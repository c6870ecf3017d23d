import { type Handling, handlingsOf } from './handling.ts'
import {
  type HistoryMessage,
  type HistoryRecord,
  type OperationRecord,
  type Outcome,
  type PresentRecord,
  recordsOf,
} from './history-record.ts'

/** All that must happen together: a send call, a settlement with its outputs, a group of settlements. */
export interface Step {
  readonly what: string
  readonly process: string
  readonly at: number
  /** When it was known to have ended; `Infinity` when nobody saw that. */
  readonly endedAt: number
  readonly endedWall: number | undefined
  readonly outcome: Outcome
  readonly copies: readonly Copy[]
  readonly records: readonly string[]
  /** The deliveries that it settles; none for a send. */
  readonly sources: readonly Handling[]
}

/** A message in one queue, as its sender meant it. */
export interface Copy {
  readonly place: string
  readonly message: HistoryMessage
  readonly outcome: Outcome
  /** The order in which its process asked for it. */
  readonly number: number
  readonly step: Step
}

/** Something that was done to a process, or without one to all; somewhere between the two. */
export interface Fault {
  readonly what: 'death' | 'stop' | 'stall' | 'cut'
  readonly process: string | undefined
  readonly from: number
  readonly to: number
}

export interface Operation extends Pick<OperationRecord, 'op' | 'queue' | 'ids' | 'at'> {
  readonly endedAt: number
  readonly outcome: Outcome
}

/** A history, sorted for the rules. */
export interface Evidence {
  readonly history: readonly HistoryRecord[]
  readonly steps: readonly Step[]
  readonly copies: ReadonlyMap<string, Copy>
  /** Which step a state record belongs to. */
  readonly records: ReadonlyMap<string, Step>
  /** Copies of one queue with equal deduplication keys. */
  readonly equals: ReadonlyMap<string, readonly Copy[]>
  /** In the order of their beginnings. */
  readonly handlings: readonly Handling[]
  readonly handled: ReadonlyMap<string, readonly Handling[]>
  readonly present: ReadonlyMap<string, readonly PresentRecord[]>
  readonly presentRecords: ReadonlySet<string>
  readonly faults: readonly Fault[]
  readonly operations: readonly Operation[]
}

/** A message in one queue: ids are used once in a queue, not in the run. */
export function placeOf({ queue, id }: { readonly queue: string; readonly id: string }): string {
  return `${queue}/${id}`
}

/** @throws TypeError when a message id, a call or a record is used twice */
export function gatherEvidence(history: readonly HistoryRecord[]): Evidence {
  const faults = faultsOf(history)
  const handlings = handlingsOf(history)
  const steps = [...sendsOf(history), ...settlementsOf(handlings)]
  const copies = new Map<string, Copy>()
  const records = new Map<string, Step>()
  for (const step of steps) {
    for (const copy of step.copies) {
      if (copies.has(copy.place)) throw new TypeError(`history: ${copy.place} is sent twice; use an id once in a queue`)
      copies.set(copy.place, copy)
    }
    for (const record of step.records) {
      if (records.has(record)) throw new TypeError(`history: record ${record} is written twice; use an id once`)
      records.set(record, step)
    }
  }
  return {
    history,
    steps,
    copies,
    records,
    equals: Map.groupBy(
      [...copies.values()].filter(({ message }) => message.deduplicate !== undefined),
      ({ message }) => equalityOf(message),
    ),
    handlings,
    handled: Map.groupBy(handlings, ({ place }) => place),
    present: Map.groupBy(recordsOf(history, 'present'), placeOf),
    presentRecords: new Set(recordsOf(history, 'record').map(({ id }) => id)),
    faults,
    operations: operationsOf(history),
  }
}

/** It was handled, or is there. */
export function wasSeen({ handled, present }: Evidence, place: string): boolean {
  return handled.has(place) || present.has(place)
}

/** Nobody needs to have seen it: it may have expired, been removed by an operator, or be the second of two equal ones. */
export function mayBeGone(evidence: Evidence, copy: Copy): boolean {
  return copy.message.expires !== undefined || wasRemoved(evidence, copy.message) || hasEqualBefore(evidence, copy)
}

/** An operator may have taken the message away. */
function wasRemoved({ operations }: Evidence, message: { readonly queue: string; readonly id: string }): boolean {
  return operations.some(
    ({ op, queue, ids }) =>
      (op === 'cancel' || op === 'purge' || op === 'delete') &&
      queue === message.queue &&
      (ids === undefined || ids.includes(message.id)),
  )
}

/** An operator may have put the message into another place of the order; from when on. */
export function movedAt({ operations }: Evidence, message: { readonly queue: string; readonly id: string }): number {
  return operations
    .filter(
      ({ op, queue, ids }) =>
        (op === 'redrive' || op === 'unpark') &&
        queue === message.queue &&
        (ids === undefined || ids.includes(message.id)),
    )
    .reduce((first, { at }) => Math.min(first, at), Infinity)
}

/** Whether something was done to a process, to any without one, between the two moments. */
export function isFaultBetween({ faults }: Evidence, from: number, to: number, process?: string): boolean {
  return faults.some(
    fault =>
      fault.from <= to &&
      fault.to >= from &&
      (process === undefined || fault.process === undefined || fault.process === process),
  )
}

function equalityOf({ queue, deduplicate }: HistoryMessage): string {
  return `${queue} ${deduplicate?.key}`
}

function hasEqualBefore(evidence: Evidence, copy: Copy): boolean {
  const { deduplicate } = copy.message
  if (deduplicate === undefined) return false
  return (evidence.equals.get(equalityOf(copy.message)) ?? []).some(
    other =>
      other !== copy &&
      // Unless all of it is outside of the window.
      other.step.at <= copy.step.endedAt &&
      copy.step.at - other.step.endedAt <= deduplicate.windowMs &&
      wasSeen(evidence, other.place),
  )
}

function faultsOf(history: readonly HistoryRecord[]): Fault[] {
  const dead = new Map(recordsOf(history, 'dead').map(({ process, at }) => [process, at]))
  const continued = recordsOf(history, 'continued').toSorted((a, b) => a.at - b.at)
  const ended = new Map(recordsOf(history, 'ended', 'killed').map(({ process, at }) => [process, at]))
  return recordsOf(history, 'killed', 'stopped', 'cut').map((record): Fault => {
    const { process, at } = record
    if (record.as === 'cut') return { what: 'cut', process, from: at, to: at }
    if (record.as === 'killed') return { what: 'death', process, from: at, to: dead.get(record.process) ?? at }
    const end = continued.find(other => other.process === process && other.what === record.what && other.at >= at)
    const what = record.what === 'process' ? 'stop' : 'stall'
    return { what, process, from: at, to: end?.at ?? ended.get(record.process) ?? Infinity }
  })
}

function callOf({ process, call }: { readonly process: string; readonly call: number }): string {
  return `${process} ${call}`
}

function sendsOf(history: readonly HistoryRecord[]): Step[] {
  const ends = new Map(recordsOf(history, 'sent').map(sent => [callOf(sent), sent]))
  const seen = new Set<string>()
  let number = 0
  return recordsOf(history, 'send').map(send => {
    const call = callOf(send)
    if (seen.has(call)) throw new TypeError(`history: ${send.process} makes call ${send.call} twice`)
    seen.add(call)
    const sent = ends.get(call)
    const outcome = sent?.outcome ?? 'unknown'
    const copies: Copy[] = []
    const step: Step = {
      what: `send ${send.call} of ${send.process}`,
      process: send.process,
      at: send.at,
      endedAt: sent?.at ?? Infinity,
      endedWall: sent?.wall,
      outcome,
      copies,
      records: send.records ?? [],
      sources: [],
    }
    for (const [index, message] of send.messages.entries()) {
      const own = sent?.outcomes?.[index] ?? outcome
      copies.push({ place: placeOf(message), message, outcome: own, number: number++, step })
    }
    return step
  })
}

/** Answers with effects of their own, and groups. */
function settlementsOf(handlings: readonly Handling[]): Step[] {
  const settled = handlings.filter(({ answer }) => answer !== undefined)
  const groups = Map.groupBy(
    settled.filter(({ answer }) => answer?.group !== undefined),
    ({ answer }) => answer?.group?.id ?? '',
  )
  const singles = settled.filter(
    ({ answer }) => answer?.group === undefined && (answer?.outputs !== undefined || answer?.records !== undefined),
  )
  return [
    ...singles.map(handling =>
      settlement(`the settlement of ${handling.place}, attempt ${handling.begun.attempt}`, [handling]),
    ),
    ...[...groups].map(([id, members]) => settlement(`group ${id}`, members)),
  ]
}

function settlement(what: string, sources: readonly Handling[]): Step {
  const [first] = sources as [Handling]
  const outcome = sources.some(({ isFenced, isPartial }) => isFenced || isPartial) ? 'fail' : 'unknown'
  const copies: Copy[] = []
  const step: Step = {
    what,
    process: first.begun.process,
    at: Math.min(...sources.map(({ endedAt }) => endedAt)),
    endedAt: Infinity,
    endedWall: undefined,
    outcome,
    copies,
    records: sources.flatMap(({ answer }) => answer?.records ?? []),
    sources,
  }
  for (const message of sources.flatMap(({ answer }) => answer?.outputs ?? [])) {
    copies.push({ place: placeOf(message), message, outcome, number: -1, step })
  }
  return step
}

function operationsOf(history: readonly HistoryRecord[]): Operation[] {
  const ends = new Map(recordsOf(history, 'operated').map(end => [callOf(end), end]))
  return recordsOf(history, 'operation').map(operation => {
    const { op, queue, ids, at } = operation
    const end = ends.get(callOf(operation))
    return {
      op,
      queue,
      at,
      ...(ids === undefined ? {} : { ids }),
      endedAt: end?.at ?? Infinity,
      outcome: end?.outcome ?? 'unknown',
    }
  })
}
