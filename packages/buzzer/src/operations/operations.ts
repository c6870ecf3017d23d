import { type Bus, type ProgressReport, portOf } from '../bus/index.ts'
import {
  type AnyCommandContract,
  type AnyEventContract,
  BuzzerError,
  checkHeaders,
  type In,
  type JsonValue,
} from '../message/index.ts'
import { canonicalJson } from './canonical-json.ts'
import { Callbacks } from './callbacks.ts'
import { CompletingEvents } from './completing-events.ts'
import { type Completion, type EventEnding, readCompletion } from './completion.ts'
import { Following } from './following.ts'
import { type IdempotencyKey, payloadFingerprint } from './idempotency.ts'
import type { Operation, OperationEvent, OperationStatus } from './operation.ts'
import type { OperationTurn } from './operation-life.ts'
import {
  goneAtMs,
  type OperationRecord,
  type OperationSettings,
  operationsCollection,
  ownerRange,
} from './operation-record.ts'
import type { StoredOperation } from './operation-records.ts'
import { type OperationsOptions, readRetention, readSettings, type Retention } from './options.ts'
import type { Problem } from './problem.ts'
import { readResult } from './result.ts'
import { Acceptance, type Accepted, checkDurability, type Submission } from './submission.ts'
import { Sweeper } from './sweeper.ts'
import { type Tracking, trackingOf } from './tracking.ts'

/** Options of `submit`. */
export interface SubmitOptions<E extends AnyEventContract = AnyEventContract> {
  /** The queue, when neither the contract nor this bus names one. */
  readonly to?: string
  /** Whose operation it is, for `list`. */
  readonly owner?: string
  readonly tenant?: string
  /**
   * A repeat with the same key, owner, command and payload answers with the first operation; with another payload it
   * rejects with `BUZZER_IDEMPOTENCY_KEY_REUSED`. Remembered for a day; the long form says all of it.
   */
  readonly idempotencyKey?: string | IdempotencyKey
  /** What ends the operation. Default `'handler'`. */
  readonly completion?: Completion<E>
  /** Not started by then: `expired`. Milliseconds from now, or from the end of `delayMs`. Default: never. */
  readonly expiresAfterMs?: number
  /**
   * Gets one signed POST when the operation is done. Needs a gateway with `webhooks` on this bus; checked as there
   * (`BUZZER_INVALID_OPTION`).
   */
  readonly callbackUrl?: string
  readonly retention?: Retention
  readonly headers?: Readonly<Record<string, string>>
  readonly priority?: number
  readonly key?: string
  readonly delayMs?: number
  readonly signal?: AbortSignal
}

/** The buzzer in the customer's hand. */
export interface Ticket {
  readonly id: string
  /** The idempotency key was known: nothing new was accepted. */
  readonly replayed: boolean
  readonly operation: Operation
}

export interface OperationQuery {
  readonly owner?: string
  /** Wire type. */
  readonly command?: string
  readonly status?: OperationStatus
  readonly createdAfter?: Date
  /** Default 50, at most 1,000. */
  readonly limit?: number
  /** The `cursor` of the page before. */
  readonly cursor?: string
}

/**
 * Accepted commands with their state, progress, result and the signal when they are done; kept in the bus's store, seen by
 * every process that uses it. All methods may be called concurrently. Source: spec http 1–3.
 */
export interface Operations extends AsyncDisposable {
  /**
   * Accepts a command. Resolves when operation, idempotency record and command are durable, which is one commit; rejected,
   * none of them exists (`BUZZER_SEND_TIMEOUT` and `BUZZER_ABORTED`: not known; repeat with the same key).
   */
  submit<C extends AnyCommandContract, E extends AnyEventContract = AnyEventContract>(
    command: C,
    payload: In<C>,
    options?: SubmitOptions<E>,
  ): Promise<Ticket>
  /** `undefined` for an unknown id and when the retention has passed. */
  get(id: string): Promise<Operation | undefined>
  /** Newest first; a page stays as it is while new ones arrive. */
  list(query?: OperationQuery): Promise<{ items: Operation[]; cursor?: string }>
  /** Resolves when the operation is done, or with its present state at the deadline. Rejects with `BUZZER_ABORTED` by the signal. */
  wait(id: string, options: { timeoutMs: number; signal?: AbortSignal }): Promise<Operation>
  /** Replays the kept events with a version larger than `after` (default 0: all), then each new one; ends after the last. */
  follow(id: string, options?: { after?: number; signal?: AbortSignal }): AsyncIterable<OperationEvent>
  /** Never rejects; recorded at most once per `progressIntervalMs`, the newest report wins. */
  progress(id: string, report: ProgressReport): Promise<void>
  /** Ends an operation by hand. Again with the same outcome: harmless; with another one: `BUZZER_OPERATION_DONE`. */
  finish(id: string, outcome: { result?: JsonValue } | { problem: Partial<Problem> }): Promise<Operation>
  /**
   * Waiting: `cancelled` at once. Running: `cancelRequested`, and the handler's signal aborts within a second. Cancelled
   * before: harmless. Otherwise done: `BUZZER_OPERATION_DONE`.
   */
  cancel(id: string, options?: { reason?: string }): Promise<Operation>
  /** Ends waits and streams. The bus lives on, and so do the operations. Idempotent. */
  close(): Promise<void>
}

/**
 * What the HTTP gateway needs beyond `Operations`.
 * @internal
 */
export interface OperationsInside {
  readonly tracking: Tracking
  readonly settings: OperationSettings
  /** The record; `gone` when its retention has passed. */
  read(id: string): Promise<OperationRecord | 'gone' | undefined>
  readonly following: Following
  readonly callbacks: Callbacks
  /** Judges the `callbackUrl` of `submit`; set by whoever calls back. */
  checkCallback: ((url: string) => void) | undefined
  accept(submission: Omit<Submission, 'settings'> & { retention?: Retention }): Promise<Accepted>
  completing(command: AnyCommandContract, ending: EventEnding): Promise<void>
}

const insides = new WeakMap<Operations, OperationsInside>()

/** @internal */
export function insideOf(operations: Operations): OperationsInside {
  const inside = insides.get(operations)
  if (inside !== undefined) return inside
  throw new BuzzerError('BUZZER_INVALID_OPTION', 'option operations takes what createOperations returned', {
    details: { option: 'operations' },
  })
}

const idempotencyTtlMs = 86_400_000

/**
 * Makes operations over the store of a bus; before `bus.start()`, so that the store is prepared with it.
 * @throws BUZZER_STORE_NOT_DURABLE over a store that dies with the process, unless `volatile: true`; BUZZER_INVALID_OPTION
 */
export function createOperations(options: OperationsOptions): Operations {
  const settings = readSettings(options)
  const bus = options.bus as unknown as Bus<unknown>
  const port = portOf(bus)
  checkDurability(port, options.volatile === true)
  const tracking = trackingOf(port)
  const { clock, records } = tracking
  const following = new Following(tracking)
  const acceptance = new Acceptance(tracking)
  const sweeper = new Sweeper(tracking)
  const events = new CompletingEvents(bus, tracking)
  const callbacks = new Callbacks(tracking, following)

  bus.attach({
    name: 'operations',
    async start() {
      await records.store.declare([{ name: operationsCollection, indexes: ['created', 'owner', 'due', 'callback'] }])
      sweeper.start()
      callbacks.start()
    },
    stop: async () => close(),
  })

  const close = (): void => {
    sweeper.close()
    callbacks.close()
    following.close()
  }

  const isGone = (record: OperationRecord): boolean =>
    record.tombstone === true || clock.now() >= (goneAtMs(record) ?? Infinity)

  const read = async (id: string): Promise<OperationRecord | 'gone' | undefined> => {
    const stored = await records.get(id)
    if (stored === undefined) return undefined
    return isGone(stored.record) ? 'gone' : stored.record
  }

  const change = async (
    id: string,
    turns: (record: OperationRecord) => readonly OperationTurn[],
  ): Promise<OperationRecord> => {
    const stored: StoredOperation | undefined = await records.take(id, record => {
      if (isGone(record)) return []
      return [...(record.operation.done ? [] : tracking.progress.takePending(id)), ...turns(record)]
    })
    if (stored === undefined || isGone(stored.record)) throw unknown(id)
    tracking.changed(id, stored)
    return stored.record
  }

  const completing = (command: AnyCommandContract, ending: EventEnding): Promise<void> => events.add(command, ending)

  const accept: OperationsInside['accept'] = async ({ retention, ...submission }) => {
    // They go out beside our reserved one, where the bus does not look at them any more.
    if (submission.headers !== undefined) checkHeaders(submission.headers)
    if (typeof submission.ending !== 'string') await completing(submission.command, submission.ending)
    return acceptance.accept({
      ...submission,
      settings: retention === undefined ? settings : { ...settings, ...readRetention(retention, settings) },
    })
  }

  const operations: Operations = {
    async submit(command, payload, given = {}) {
      const { completion, idempotencyKey, ...rest } = checkSubmit(command, given)
      if (rest.callbackUrl !== undefined) checkCallback(inside, rest.callbackUrl)
      const accepted = await accept({
        ...rest,
        command,
        payload,
        validated: false,
        ending: readCompletion(completion as Completion<never> | undefined),
        ...(idempotencyKey === undefined ? {} : { idempotencyKey: fullKey(idempotencyKey, command, payload, given) }),
      })
      if (accepted.record === undefined || isGone(accepted.record)) throw unknown(accepted.id)
      return { id: accepted.id, replayed: accepted.replayed, operation: accepted.record.operation }
    },

    async get(id) {
      const record = await read(id)
      return record === 'gone' ? undefined : record?.operation
    },

    async list(query = {}) {
      const limit = Math.min(Math.max(1, Math.trunc(query.limit ?? 50)), 1_000)
      const from = query.createdAfter === undefined ? 0 : query.createdAfter.getTime() + 1
      const where =
        query.owner === undefined
          ? ({ index: 'created', from, order: 'desc' } as const)
          : ({ index: 'owner', ...ownerRange(query.owner, from), order: 'desc' } as const)
      const items: Operation[] = []
      let cursor = query.cursor
      do {
        const page = await records.store.query<OperationRecord>(operationsCollection, where, {
          limit: limit - items.length,
          ...(cursor === undefined ? {} : { after: cursor }),
        })
        for (const { value } of page.items) if (matches(value, query) && !isGone(value)) items.push(value.operation)
        cursor = page.next
      } while (cursor !== undefined && items.length < limit)
      return cursor === undefined ? { items } : { items, cursor }
    },

    async wait(id, waitOptions) {
      const record = await following.until(id, ({ operation }) => operation.done, waitOptions)
      if (record === undefined || isGone(record)) throw unknown(id)
      return record.operation
    },

    follow: (id, followOptions = {}) => following.events(id, followOptions.after ?? 0, followOptions.signal),

    progress: (id, report) => tracking.progress.report(id, report),

    async finish(id, outcome) {
      const turn: OperationTurn =
        'problem' in outcome
          ? { as: 'fail', problem: outcome.problem }
          : { as: 'succeed', result: readResult(outcome.result, settings.maxResultBytes) }
      let before: Operation | undefined
      const record = await change(id, current => {
        before = current.operation
        return [turn]
      })
      if (before?.done && !sameOutcome(before, turn)) throw alreadyDone(before)
      return record.operation
    },

    async cancel(id, cancelOptions = {}) {
      let before: Operation | undefined
      const record = await change(id, current => {
        before = current.operation
        return [{ as: 'cancel' }]
      })
      if (before?.done && before.status !== 'cancelled') throw alreadyDone(before)
      if (cancelOptions.reason !== undefined) {
        tracking.logger.info({ operation: id, reason: cancelOptions.reason }, 'an operation was cancelled')
      }
      return record.operation
    },

    close: async () => close(),
    [Symbol.asyncDispose]: async () => close(),
  }
  const inside: OperationsInside = {
    tracking,
    settings,
    read,
    following,
    callbacks,
    checkCallback: undefined,
    accept,
    completing,
  }
  insides.set(operations, inside)
  return operations
}

const submitOptions = new Set([
  'to',
  'owner',
  'tenant',
  'idempotencyKey',
  'completion',
  'expiresAfterMs',
  'callbackUrl',
  'retention',
  'headers',
  'priority',
  'key',
  'delayMs',
  'signal',
])

function checkSubmit<E extends AnyEventContract>(
  command: AnyCommandContract,
  options: SubmitOptions<E>,
): SubmitOptions<E> {
  if ((command as { kind?: unknown } | undefined)?.kind !== 'command') {
    throw new BuzzerError(
      'BUZZER_WRONG_KIND',
      'only commands have operations: submit takes a contract of defineCommand',
    )
  }
  for (const name of Object.keys(options)) {
    if (submitOptions.has(name)) continue
    throw new BuzzerError('BUZZER_INVALID_OPTION', `submit has no option ${name}`, { details: { option: name } })
  }
  return options
}

function checkCallback(inside: OperationsInside, url: string): void {
  if (inside.checkCallback === undefined) {
    throw new BuzzerError('BUZZER_UNSUPPORTED', 'callbackUrl needs a gateway with the option webhooks on this bus')
  }
  inside.checkCallback(url)
}

function fullKey(
  given: string | IdempotencyKey,
  command: AnyCommandContract,
  payload: unknown,
  options: { owner?: string; tenant?: string },
): IdempotencyKey {
  if (typeof given === 'object') return given
  return {
    key: given,
    scope: canonicalJson(['submit', options.tenant ?? null, options.owner ?? null, command.type]),
    fingerprint: payloadFingerprint(command.type, payload),
    ttlMs: idempotencyTtlMs,
  }
}

function matches(record: OperationRecord, query: OperationQuery): boolean {
  const { command, status } = record.operation
  return (
    (query.command === undefined || query.command === command) &&
    (query.status === undefined || query.status === status)
  )
}

function sameOutcome(recorded: Operation, turn: OperationTurn): boolean {
  if (turn.as === 'succeed') {
    return (
      recorded.status === 'succeeded' &&
      recorded.resultOmitted === turn.result.resultOmitted &&
      canonicalJson(recorded.result) === canonicalJson(turn.result.result)
    )
  }
  if (turn.as !== 'fail' || recorded.status !== 'failed' || recorded.error === undefined) return false
  const { error } = recorded
  return Object.entries(turn.problem ?? {}).every(
    ([name, value]) => canonicalJson(error[name] as JsonValue) === canonicalJson(value as JsonValue),
  )
}

function unknown(id: string): BuzzerError {
  return new BuzzerError('BUZZER_OPERATION_UNKNOWN', `no operation ${id} is kept in this store`, { details: { id } })
}

function alreadyDone(operation: Operation): BuzzerError {
  return new BuzzerError('BUZZER_OPERATION_DONE', `operation ${operation.id} is ${operation.status} already`, {
    details: { id: operation.id, status: operation.status },
  })
}
