import type { BusPort } from '../bus/index.ts'
import { type AnyCommandContract, AbortedError, BuzzerError, hasCode } from '../message/index.ts'
import type { EventEnding } from './completion.ts'
import { recordCompletion } from './completion.ts'
import {
  type IdempotencyKey,
  type IdempotencyRecord,
  idempotencyCollection,
  idempotencyId,
  keyReused,
  putIdempotency,
} from './idempotency.ts'
import { type OperationRecord, type OperationSettings, putRecord } from './operation-record.ts'
import { operationHeader } from './operation-tracker.ts'
import type { Tracking } from './tracking.ts'

/** What is accepted: a command with all that its operation needs to know. */
export interface Submission {
  readonly command: AnyCommandContract
  readonly payload: unknown
  /** The payload has passed the command's schema already. */
  readonly validated: boolean
  readonly ending: 'handler' | 'manual' | EventEnding
  readonly settings: OperationSettings
  readonly idempotencyKey?: IdempotencyKey
  readonly to?: string
  readonly owner?: string
  readonly tenant?: string
  readonly route?: string
  readonly expiresAfterMs?: number
  /** Checked by whoever calls it. */
  readonly callbackUrl?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly attributes?: Readonly<Record<string, string>>
  readonly priority?: number
  readonly key?: string
  readonly delayMs?: number
  readonly signal?: AbortSignal
}

export interface Accepted {
  readonly id: string
  /** The key was known: this is the operation of its first submission. */
  readonly replayed: boolean
  /** As stored now; absent when a replayed operation is no longer kept. */
  readonly record: OperationRecord | undefined
}

/** How long a submission waits for another one with the same key in this process. Source: spec http 5.5. */
const inProgressMs = 5_000

/**
 * Accepts submissions: operation, idempotency record and command in one commit. Racing submissions of one key, in this
 * process or another, end in one operation. Source: spec http 3.
 */
export class Acceptance {
  readonly #tracking: Tracking
  readonly #inProgress = new Map<string, Promise<unknown>>()

  constructor(tracking: Tracking) {
    this.#tracking = tracking
  }

  async accept(submission: Submission): Promise<Accepted> {
    const key = submission.idempotencyKey
    if (key === undefined) return this.#commit(submission)
    const id = idempotencyId(key)
    for (;;) {
      const other = this.#inProgress.get(id)
      if (other === undefined) break
      await this.#patience(other, submission.signal)
    }
    const attempt = this.#acceptOnce(submission, key, id)
    this.#inProgress.set(id, attempt)
    try {
      return await attempt
    } finally {
      this.#inProgress.delete(id)
    }
  }

  async #acceptOnce(submission: Submission, key: IdempotencyKey, id: string): Promise<Accepted> {
    const { records } = this.#tracking
    for (let race = 0; ; race++) {
      const known = await records.store.get<IdempotencyRecord>(
        idempotencyCollection,
        id,
        submission.signal === undefined ? {} : { signal: submission.signal },
      )
      if (known !== undefined) {
        const { operation, fingerprint } = known.value
        if (fingerprint !== key.fingerprint) throw keyReused(key, operation)
        const stored = await records.get(operation, submission.signal)
        return { id: operation, replayed: true, record: stored?.record }
      }
      try {
        return await this.#commit(submission)
      } catch (error) {
        // Another process was faster with this key: its operation is the answer.
        if (!hasCode(error, 'BUZZER_CONFLICT') || race >= 3) throw error
      }
    }
  }

  async #commit(submission: Submission): Promise<Accepted> {
    const { port } = this.#tracking
    const id = port.newId()
    const now = port.clock.now()
    const record = newRecord(id, submission, now)
    const { idempotencyKey, signal, to, key, priority, delayMs, expiresAfterMs, attributes } = submission
    await port.sendWith(submission.command, submission.payload as never, {
      messageId: id,
      headers: { ...submission.headers, [operationHeader]: id },
      state: [
        putRecord(record, 'absent'),
        ...(idempotencyKey === undefined ? [] : [putIdempotency(idempotencyKey, id, now)]),
      ],
      ...(to === undefined ? {} : { to }),
      ...(attributes === undefined ? {} : { attributes }),
      ...(key === undefined ? {} : { key }),
      ...(priority === undefined ? {} : { priority }),
      ...(delayMs === undefined ? {} : { delayMs }),
      ...(expiresAfterMs === undefined ? {} : { ttlMs: expiresAfterMs }),
      ...(submission.validated ? { validated: true } : {}),
      ...(signal === undefined ? {} : { signal }),
    })
    this.#tracking.changed(id, { record, storeVersion: 1 })
    return { id, replayed: false, record }
  }

  /** Waits for `other` to end either way; rejects when that takes too long or `signal` aborts. */
  async #patience(other: Promise<unknown>, signal: AbortSignal | undefined): Promise<void> {
    const { clock } = this.#tracking
    await new Promise<void>((resolve, reject) => {
      const timer = clock.setTimeout(
        () =>
          reject(
            new BuzzerError(
              'BUZZER_IDEMPOTENCY_IN_PROGRESS',
              `another submission with this idempotency key has not ended within ${inProgressMs} ms; repeat this one later`,
            ),
          ),
        inProgressMs,
      )
      const onAbort = (): void => reject(new AbortedError(signal as AbortSignal, 'the submission'))
      const ended = (): void => {
        clock.clearTimeout(timer)
        signal?.removeEventListener('abort', onAbort)
        resolve()
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      if (signal?.aborted) onAbort()
      other.then(ended, ended)
    })
  }
}

function newRecord(id: string, submission: Submission, nowMs: number): OperationRecord {
  const { ending, expiresAfterMs, delayMs = 0, owner, tenant, route, callbackUrl } = submission
  const withinMs = typeof ending === 'string' ? undefined : ending.withinMs
  return {
    operation: {
      id,
      command: submission.command.type,
      status: 'accepted',
      done: false,
      version: 1,
      attempt: 0,
      createdAt: new Date(nowMs).toISOString(),
      ...(expiresAfterMs === undefined ? {} : { expiresAt: new Date(nowMs + delayMs + expiresAfterMs).toISOString() }),
    },
    history: [],
    lastType: 'status',
    ...(owner === undefined ? {} : { owner }),
    ...(tenant === undefined ? {} : { tenant }),
    ...(route === undefined ? {} : { route }),
    completion: recordCompletion(ending),
    ...(callbackUrl === undefined ? {} : { callback: { url: callbackUrl, state: 'waiting' } }),
    settings: submission.settings,
    ...(expiresAfterMs === undefined ? {} : { ttlMs: expiresAfterMs }),
    ...(withinMs === undefined ? {} : { deadlineMs: nowMs + withinMs }),
    attemptsBefore: 0,
    redrives: 0,
  }
}

/** Whether this bus can follow operations at all. @throws BUZZER_STORE_NOT_DURABLE */
export function checkDurability(port: BusPort, volatile: boolean): void {
  if (port.store === undefined || (port.store.capabilities.durability !== 'durable' && !volatile)) {
    const found = port.store === undefined ? 'no store' : `the store ${port.store.name}, which dies with the process`
    throw new BuzzerError(
      'BUZZER_STORE_NOT_DURABLE',
      `operations promise that what was accepted survives, and bus ${port.bus} has ${found}; use a transport with a durable ` +
        `store (such as embedded), give createBus a store${port.store === undefined ? '' : ', or say volatile: true in tests'}`,
      { details: { bus: port.bus, store: port.store?.name } },
    )
  }
}
