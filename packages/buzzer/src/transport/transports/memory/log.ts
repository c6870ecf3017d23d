import { AbortedError, BuzzerError, silentLogger, systemClock } from '../../../message/index.ts'
import type {
  AppendBatch,
  AppendOptions,
  Appended,
  EventLog,
  LogAdmin,
  LogCapabilities,
  ReadResult,
} from '../../event-log.ts'
import { checkAppend, checkProducerName } from '../../log/check-append.ts'
import { type ResolvedRead, resolveRead } from '../../log/check-read.ts'
import { checkKeysMayMove } from '../../log/stream-options.ts'
import type { BrokerEngine, Session } from './broker.ts'
import type { Limits } from './shipments.ts'
import { Timers } from './timers.ts'
import type { MemoryTransaction } from './transaction.ts'

/** The log of a memory broker. */
export interface MemoryLog extends EventLog<MemoryTransaction> {
  readonly admin: Required<LogAdmin>
}

/** The longest wait one timer of the platform can hold. */
const longestTimerMs = 2 ** 31 - 1

/**
 * A log over the streams of a memory broker: every promise of the contract but survival of the process. Appends are
 * stored in the turn of their call, so nothing is ever unconfirmed.
 */
export function memoryLogOver(
  broker: BrokerEngine,
  limits: Limits,
  transportIsOpen: () => boolean,
): { readonly log: MemoryLog; transportClosed(): void } {
  const { streams } = broker
  let state: 'new' | 'open' | 'closed' = 'new'
  // As any user of the broker: its clock is that of the first one connected.
  const session: Session = {
    logger: silentLogger,
    limits,
    receivers: new Set(),
    onReceivers: () => {},
    onReceiverEnded: () => {},
  }
  const capabilities: LogCapabilities = Object.freeze({
    expected: 'key',
    producers: 'durable',
    deduplication: 'native',
    transactions: 'caller',
    positions: 'dense',
    compaction: 'none',
    durability: 'volatile',
    maxRecordBytes: limits.maxMessageBytes,
  })
  const waiting = new Set<(error: BuzzerError) => void>()
  let alive: NodeJS.Timeout | undefined
  const running = (): void => {
    if (state === 'closed' || (state === 'new' && !transportIsOpen())) throw notRunning()
  }
  /** Who waits for a record is alive. Under a clock of somebody else's nothing happens by itself. */
  const hold = (): void => {
    if (waiting.size > 0 && broker.clock === systemClock) alive ??= setInterval(() => {}, longestTimerMs)
    else {
      clearInterval(alive)
      alive = undefined
    }
  }

  function waitFor(request: ResolvedRead, position: number): Promise<ReadResult> {
    const { signal, waitMs } = request
    const result = Promise.withResolvers<ReadResult>()
    const answer = (error?: BuzzerError): void => {
      try {
        if (error !== undefined) throw error
        result.resolve(streams.read(request, position))
      } catch (failure) {
        result.reject(failure)
      }
      streams.endWait(waiter)
      waiting.delete(answer)
      Timers.cancel(timer)
      signal?.removeEventListener('abort', onAbort)
      hold()
    }
    const onAbort = (): void => answer(new AbortedError(signal as AbortSignal, 'the read'))
    const waiter = { partition: streams.partition(request.stream, request.partition), wake: answer }
    const timer = Number.isFinite(waitMs)
      ? broker.monotonic.set(broker.monotonic.now() + waitMs, () => answer())
      : undefined
    streams.wait(waiter)
    waiting.add(answer)
    signal?.addEventListener('abort', onAbort, { once: true })
    hold()
    return result.promise
  }

  const endWaits = (): void => {
    for (const end of waiting) end(notRunning())
  }

  const log: MemoryLog = {
    name: 'memory',
    capabilities,
    async connect(context) {
      if (state === 'closed') throw notRunning()
      if (state === 'open') return
      state = 'open'
      broker.connect(session, context.clock)
    },
    async declare(topologies) {
      running()
      streams.declare(topologies)
    },
    append(batches: readonly AppendBatch[], options: AppendOptions<MemoryTransaction> = {}) {
      try {
        running()
        const { tx, signal } = options
        if (signal?.aborted === true) throw new AbortedError(signal, 'the append', { outcome: 'not-stored' })
        checkAppend(batches, 'memory', capabilities)
        if (tx !== undefined) {
          broker.appendIn(tx, batches)
          return Promise.resolve(batches.map((): Appended => ({ as: 'staged' })))
        }
        const answers = streams.apply(batches, streams.plan(batches))
        return broker.answered().then(() => answers)
      } catch (error) {
        return Promise.reject(error)
      }
    },
    async read(given) {
      running()
      const request = resolveRead(given)
      if (request.signal?.aborted === true) throw new AbortedError(request.signal, 'the read')
      const position = streams.resolve(request)
      const result = streams.read(request, position)
      return result.records.length > 0 || request.waitMs === 0 ? result : await waitFor(request, position)
    },
    async openProducer(stream, name) {
      running()
      checkProducerName(name)
      return streams.openProducer(stream, name)
    },
    async describe(request = {}) {
      running()
      return streams.describe(request.stream)
    },
    async close() {
      if (state === 'open') broker.disconnect(session)
      state = 'closed'
      endWaits()
    },
    admin: {
      async trim(stream, partition, before) {
        running()
        return streams.trim(stream, partition, before)
      },
      async addPartitions(stream, partitions, options) {
        running()
        checkKeysMayMove(options)
        streams.addPartitions(stream, partitions)
      },
      async alter(stream, options) {
        running()
        streams.alter(stream, options)
      },
      async deleteStream(stream) {
        running()
        streams.deleteStream(stream)
      },
    },
  }
  return {
    log,
    transportClosed() {
      if (state === 'new') endWaits()
    },
  }
}

function notRunning(): BuzzerError {
  return new BuzzerError('BUZZER_NOT_RUNNING', 'the memory log is not connected, or is closed; make a new one')
}
