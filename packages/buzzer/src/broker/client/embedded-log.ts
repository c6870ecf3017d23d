import { AbortedError, BuzzerError, type Clock } from '../../message/index.ts'
import {
  type AppendBatch,
  type Appended,
  type AppendOptions,
  checkAppend,
  checkKeysMayMove,
  checkProducerName,
  type EventLog,
  type LogAdmin,
  type LogCapabilities,
  type LogDescription,
  type OpenedProducer,
  type ReadRequest,
  type ReadResult,
  type ResolvedRead,
  resolveRead,
  type StreamOptions,
  type StreamTopology,
  type TransportContext,
} from '../../transport/index.ts'
import type { WireDescription } from '../engine/index.ts'
import { fromWireStream, type Request, toWireStream } from '../protocol/index.ts'
import { refuseTransaction } from './embedded-store.ts'

/** What the log needs of its transport. */
export interface LogSession {
  connect(context: Partial<TransportContext>): Promise<void>
  close(): Promise<void>
  /** Fails with `BUZZER_NOT_RUNNING` unless the transport, or this log, is connected. */
  check(what: string): void
  ask(request: Request): Promise<unknown>
  append(batches: readonly AppendBatch[], signal: AbortSignal | undefined): Promise<readonly Appended[]>
  clock(): Clock
  readonly onConflict: 'refuse' | 'update'
  readonly maxRecordBytes: number
}

type ReadAsked = Extract<Request, { call: 'log-read' }>

/** A read that somebody waits for. */
interface OpenRead {
  readonly readId: number
  readonly reject: (error: BuzzerError) => void
}

/**
 * The streams in the broker's file. Appends share the group commit of the messages, keep the order of the calls of their
 * transport and happen exactly once over a change of the owner; a read that waits is woken by the commit that brings its
 * record, over a change of the owner, too. Source: spec broker 10, streams 10.
 */
export class EmbeddedLog implements EventLog {
  readonly name = 'embedded'
  readonly capabilities: LogCapabilities
  readonly admin: Required<LogAdmin>
  readonly #session: LogSession
  readonly #reads = new Set<OpenRead>()
  #closed = false
  #lastReadId = 0

  constructor(session: LogSession) {
    this.#session = session
    this.capabilities = Object.freeze({
      expected: 'key',
      producers: 'durable',
      deduplication: 'native',
      transactions: 'none',
      positions: 'dense',
      compaction: 'none',
      durability: 'durable',
      maxRecordBytes: session.maxRecordBytes,
    })
    this.admin = {
      trim: async (stream, partition, before) =>
        (await this.#call({ call: 'log-trim', stream, partition, before })) as { readonly first: number },
      addPartitions: async (stream, partitions, options) => {
        checkKeysMayMove(options)
        await this.#call({ call: 'log-add-partitions', stream, partitions })
      },
      alter: async (stream, options) =>
        void (await this.#call({ call: 'log-alter', stream, options: toWireStream(options) })),
      deleteStream: async stream => void (await this.#call({ call: 'log-delete', stream })),
    }
  }

  /** Connects the transport it belongs to, unless that is done. Every field of the context has a default. */
  connect(context: Partial<TransportContext> = {}): Promise<void> {
    return this.#closed ? Promise.reject(closed()) : this.#session.connect(context)
  }

  /** Ends the reads that wait, and closes the transport it belongs to if nobody but this log connected it. */
  async close(): Promise<void> {
    this.#closed = true
    this.endReads()
    await this.#session.close()
  }

  async declare(streams: readonly StreamTopology[]): Promise<void> {
    const { onConflict } = this.#session
    await this.#call({ call: 'log-declare', streams: streams.map(toWireStream), onConflict })
  }

  append(batches: readonly AppendBatch[], options: AppendOptions = {}): Promise<readonly Appended[]> {
    try {
      this.#check('append')
      refuseTransaction(options.tx)
      checkAppend(batches, this.name, this.capabilities)
      return this.#session.append(batches, options.signal)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  async read(given: ReadRequest): Promise<ReadResult> {
    this.#check('read')
    const request = resolveRead(given)
    if (request.waitMs === 0) return await this.#ask(request, request.from, 0)
    // A place that is not a position is made one first: asked again of another owner it must not be another place.
    let { from } = request
    if (typeof from !== 'number') {
      const now = await this.#ask(request, from, 0)
      if (now.records.length > 0) return now
      from = now.next
    }
    return await this.#ask(request, from, request.waitMs)
  }

  #check(what: string): void {
    if (this.#closed) throw closed()
    this.#session.check(what)
  }

  /** A call that is no append and no read. */
  async #call(request: Request): Promise<unknown> {
    this.#check(request.call)
    return await this.#session.ask(request)
  }

  #ask(request: ResolvedRead, from: ReadRequest['from'], waitMs: number): Promise<ReadResult> {
    const { stream, partition, maxRecords, maxBytes, signal } = request
    if (signal?.aborted === true) return Promise.reject(new AbortedError(signal, 'the read'))
    const session = this.#session
    const clock = session.clock()
    const readId = ++this.#lastReadId
    const asked: ReadAsked = { call: 'log-read', readId, stream, partition, from, maxRecords, maxBytes }
    const { promise, resolve, reject } = Promise.withResolvers<ReadResult>()
    const read: OpenRead = { readId, reject }
    const unread = (): void => {
      // The engine answers the read itself; only when there is none any more nobody needs the answer.
      session.ask({ call: 'log-unread', readId }).catch(() => {})
    }
    const onAbort = (): void => {
      unread()
      reject(new AbortedError(signal as AbortSignal, 'the read'))
    }
    const timer = Number.isFinite(waitMs) && waitMs > 0 ? clock.setTimeout(unread, waitMs) : undefined
    signal?.addEventListener('abort', onAbort, { once: true })
    this.#reads.add(read)
    session.ask(waitMs > 0 ? { ...asked, wait: true } : asked).then(value => resolve(value as ReadResult), reject)
    return promise.finally(() => {
      clock.clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      this.#reads.delete(read)
    })
  }

  /** Rejects the reads that wait: the log, or its transport, closes. */
  endReads(): void {
    for (const { readId, reject } of this.#reads) {
      reject(closed())
      // When it is not connected any more, nobody holds the read.
      this.#session.ask({ call: 'log-unread', readId }).catch(() => {})
    }
  }

  async openProducer(stream: string, name: string): Promise<OpenedProducer> {
    checkProducerName(name)
    return (await this.#call({ call: 'log-producer', stream, name })) as OpenedProducer
  }

  async describe(request: { readonly stream?: string } = {}): Promise<LogDescription> {
    const { stream } = request
    const wire = await this.#call({ call: 'log-describe', ...(stream === undefined ? {} : { stream }) })
    return {
      streams: (wire as WireDescription).streams.map(one => ({
        ...one,
        options: fromWireStream(one.options) as StreamOptions,
      })),
    }
  }
}

function closed(): BuzzerError {
  return new BuzzerError('BUZZER_NOT_RUNNING', 'the log is closed; make a new one')
}
