import type { JsonValue } from '../message/index.ts'
import type { PutRecord } from '../store/index.ts'
import type { Operation, OperationEvent } from './operation.ts'

/** Records of operations. One record holds an operation with its whole history, so that every change is one put. */
export const operationsCollection = 'buzzer.operations'

/** What ends an operation, as far as it can be written down. */
export type RecordedCompletion =
  | { readonly as: 'handler' }
  | { readonly as: 'manual' }
  | { readonly as: 'event'; readonly on: readonly string[]; readonly failOn: readonly string[] }

/** How long, how often, how much: decided at submission, because any process may have to follow it. */
export interface OperationSettings {
  readonly succeededMs: number
  readonly failedMs: number
  readonly tombstoneMs: number
  readonly progressIntervalMs: number
  readonly maxResultBytes: number
}

export interface OperationRecord {
  /** As it is now. */
  readonly operation: Operation
  /** Kept events but the newest, oldest first. The newest is `operation` itself. Without result: only a final state has one. */
  readonly history: readonly PastEvent[]
  /** Type of the newest event. */
  readonly lastType: OperationEvent['type']
  readonly owner?: string
  readonly tenant?: string
  /** Where it came in, in the words of the one who submitted it. */
  readonly route?: string
  readonly completion: RecordedCompletion
  /** Who is told of the end. `told`: the telling is a durable message of its own by now. */
  readonly callback?: { readonly url: string; readonly state: 'waiting' | 'told' }
  readonly settings: OperationSettings
  /** Time to live of the command, for redrives. */
  readonly ttlMs?: number
  /** `withinMs` ends then. Epoch milliseconds. */
  readonly deadlineMs?: number
  /** Runs before the last redrive: attempts go on. */
  readonly attemptsBefore: number
  /** Redrives that are already part of it. */
  readonly redrives: number
  /** When the delayed retry is due. Epoch milliseconds. */
  readonly retryAtMs?: number
  /** Unreadable since then; only the id is kept. */
  readonly tombstone?: true
}

/** What may differ from one version to the next. */
export type PastEvent = Omit<Operation, 'id' | 'command' | 'createdAt' | 'result'> & {
  readonly type: OperationEvent['type']
}

/** At most this many events are kept; the oldest progress events go first, others never. Source: spec http 2.9. */
export const maxEvents = 256

/** The kept events with a version larger than `after`, in order. */
export function eventsAfter(record: OperationRecord, after: number): OperationEvent[] {
  const { id, command, createdAt, version } = record.operation
  const events: OperationEvent[] = []
  for (const { type, ...past } of record.history) {
    if (past.version > after) {
      events.push({ version: past.version, type, operation: { id, command, createdAt, ...past } })
    }
  }
  if (version > after) events.push({ version, type: record.lastType, operation: record.operation })
  return events
}

/** The record after one more change. */
export function withEvent(
  record: OperationRecord,
  type: OperationEvent['type'],
  change: Partial<Omit<Operation, 'id' | 'command' | 'createdAt' | 'version'>>,
  without: readonly (keyof Operation)[] = [],
): OperationRecord {
  const next: Record<string, unknown> = { ...record.operation, ...change, version: record.operation.version + 1 }
  for (const name of without) delete next[name]
  return {
    ...record,
    operation: next as unknown as Operation,
    lastType: type,
    history: trimmed([...record.history, past(record)]),
  }
}

function past(record: OperationRecord): PastEvent {
  const { id: _id, command: _command, createdAt: _createdAt, result: _result, ...rest } = record.operation
  return { ...rest, type: record.lastType }
}

function trimmed(history: readonly PastEvent[]): readonly PastEvent[] {
  if (history.length < maxEvents) return history
  const oldest = history.findIndex(event => event.type === 'progress')
  return oldest < 0 ? history : history.toSpliced(oldest, 1)
}

/** When a finished operation can no longer be read. Epoch milliseconds. */
export function goneAtMs(record: OperationRecord): number | undefined {
  const { status, finishedAt } = record.operation
  if (finishedAt === undefined) return undefined
  const { succeededMs, failedMs } = record.settings
  return Date.parse(finishedAt) + (status === 'failed' ? failedMs : succeededMs)
}

/** When somebody has to look at it again although nothing happens to it. Epoch milliseconds. */
export function dueAtMs(record: OperationRecord): number | undefined {
  if (record.tombstone) return undefined
  const { status, done, expiresAt } = record.operation
  if (done) return goneAtMs(record)
  const expiry = status !== 'running' && expiresAt !== undefined ? Date.parse(expiresAt) : Infinity
  const due = Math.min(expiry, record.deadlineMs ?? Infinity)
  return due === Infinity ? undefined : due
}

/** What remains when the retention has passed: enough to say "gone". */
export function tombstoneOf(record: OperationRecord): OperationRecord {
  const { result: _result, error: _error, progress: _progress, ...rest } = record.operation
  return { ...record, operation: rest, history: [], tombstone: true }
}

/** The put of a record. `expected` is the store's version of it, which grows by one with each put. */
export function putRecord(record: OperationRecord, expected: number | 'absent'): PutRecord {
  const { id, createdAt } = record.operation
  const created = Date.parse(createdAt)
  const dueAt = dueAtMs(record)
  const goneAt = goneAtMs(record)
  return {
    op: 'put',
    collection: operationsCollection,
    id,
    value: record as unknown as JsonValue,
    expected,
    indexes: record.tombstone
      ? {}
      : {
          created,
          ...(record.owner === undefined ? {} : { owner: ownerIndex(record.owner, created) }),
          ...(dueAt === undefined ? {} : { due: dueAt }),
          ...(record.operation.done && record.callback?.state === 'waiting' ? { callback: created } : {}),
        },
    ...(goneAt === undefined ? {} : { expiresAt: goneAt + record.settings.tombstoneMs }),
  }
}

/** Text that sorts by owner, then by creation. A space sorts before everything `encodeURIComponent` leaves. */
function ownerIndex(owner: string, createdMs: number): string {
  return `${encodeOwner(owner)} ${String(createdMs).padStart(15, '0')}`
}

/** The range of `ownerIndex` that holds one owner, created from `fromMs` on. */
export function ownerRange(owner: string, fromMs: number): { from: string; to: string } {
  return { from: ownerIndex(owner, fromMs), to: `${encodeOwner(owner)}!` }
}

function encodeOwner(owner: string): string {
  // `!` is the end of the range and must not occur in it. Lone surrogates cannot be encoded, and no two owners differ by them.
  return encodeURIComponent(owner.toWellFormed()).replaceAll('!', '%21')
}
