import { AbortedError, BuzzerError, type Clock } from '../message/index.ts'
import type { OperationEvent } from './operation.ts'
import { eventsAfter, type OperationRecord } from './operation-record.ts'
import type { StoredOperation } from './operation-records.ts'
import type { Tracking } from './tracking.ts'

/** Waits and streams over the records of operations; all end when `close` is called. */
export class Following {
  readonly #tracking: Tracking
  readonly #closing = new AbortController()

  constructor(tracking: Tracking) {
    this.#tracking = tracking
  }

  /**
   * Resolves to the record once `enough` holds, or to the present one when `timeoutMs` have passed; `undefined` when there
   * is none (any more). No wake-up is lost: the watch is open before the record is first read.
   */
  async until(
    id: string,
    enough: (record: OperationRecord) => boolean,
    options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<OperationRecord | undefined> {
    const { records, watch, clock } = this.#tracking
    const ended = new Slot()
    using _watching = await watch.subscribe(id, stored => ended.put(stored))
    const first = await records.get(id, options.signal)
    if (first === undefined || enough(first.record)) return first?.record
    const deadline = clock.monotonic() + options.timeoutMs
    for (;;) {
      const leftMs = deadline - clock.monotonic()
      if (leftMs <= 0) return (await records.get(id, options.signal))?.record
      const next = await ended.take(clock, leftMs, this.#signal(options.signal))
      if (next === 'late') continue
      if (next === undefined || enough(next.record)) return next?.record
    }
  }

  /** The kept events after `after`, then each new one; ends with the last of a finished operation. */
  async *events(id: string, after: number, signal?: AbortSignal): AsyncGenerator<OperationEvent, void, undefined> {
    const { records, watch, clock } = this.#tracking
    const changed = new Slot()
    using _watching = await watch.subscribe(id, stored => changed.put(stored))
    let stored = await records.get(id, signal)
    let seen = after
    const both = this.#signal(signal)
    for (;;) {
      if (stored === undefined || stored.record.tombstone) return
      for (const event of eventsAfter(stored.record, seen)) {
        if (both.aborted) break
        seen = event.version
        yield event
      }
      if (stored.record.operation.done) return
      const next = await changed.take(clock, undefined, both)
      if (next !== 'late') stored = next
    }
  }

  close(): void {
    this.#closing.abort(new BuzzerError('BUZZER_NOT_RUNNING', 'operations are closed'))
  }

  #signal(given: AbortSignal | undefined): AbortSignal {
    return given === undefined ? this.#closing.signal : AbortSignal.any([given, this.#closing.signal])
  }
}

/** Holds the newest record until it is taken. A slow reader skips records, never events: a record carries its history. */
class Slot {
  #held: { readonly stored: StoredOperation | undefined } | undefined
  #wake: (() => void) | undefined

  put(stored: StoredOperation | undefined): void {
    this.#held = { stored }
    this.#wake?.()
  }

  async take(
    clock: Clock,
    timeoutMs: number | undefined,
    signal: AbortSignal,
  ): Promise<StoredOperation | undefined | 'late'> {
    if (this.#held === undefined) {
      if (signal.aborted) throw stopped(signal)
      const ended = await new Promise<'put' | 'late' | 'stop'>(resolve => {
        const onAbort = (): void => finish('stop')
        const timer = timeoutMs === undefined ? undefined : clock.setTimeout(() => finish('late'), timeoutMs)
        const finish = (how: 'put' | 'late' | 'stop'): void => {
          if (timer !== undefined) clock.clearTimeout(timer)
          signal.removeEventListener('abort', onAbort)
          this.#wake = undefined
          resolve(how)
        }
        this.#wake = () => finish('put')
        signal.addEventListener('abort', onAbort, { once: true })
      })
      if (ended === 'stop') throw stopped(signal)
      if (ended === 'late') return 'late'
    }
    const held = this.#held
    this.#held = undefined
    return held?.stored
  }
}

function stopped(signal: AbortSignal): BuzzerError {
  return signal.reason instanceof BuzzerError ? signal.reason : new AbortedError(signal, 'following an operation')
}
