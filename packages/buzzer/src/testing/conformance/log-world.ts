import assert from 'node:assert/strict'
import { newId, silentLogger, systemClock } from '../../message/index.ts'
import type {
  AppendBatch,
  Appended,
  AppendRecord,
  EventLog,
  LogRecord,
  ReadRequest,
  ReadResult,
  StreamDescription,
  StreamTopology,
} from '../../transport/index.ts'
import { rejection, settles, until } from './waiting.ts'

export interface EventLogConformanceOptions {
  readonly name: string
  /** A new, unconnected log. All made by it reach one and the same set of streams. */
  create(): EventLog | Promise<EventLog>
  /** Stops what holds the records as hard as possible and starts it again; for logs that claim to be durable. */
  restart?(): Promise<void>
  /** With `transactions: 'caller'`: runs `work` in a transaction of the caller, which a rejection of it rolls back. */
  readonly transaction?: <T>(work: (tx: unknown) => Promise<T>) => Promise<T>
  /** Cases this log cannot serve, with the reason that is reported. */
  readonly exceptions?: Readonly<Record<string, string>>
  /** How long a case waits for what must happen. Default 10,000. */
  readonly patienceMs?: number
  /** How long a case watches that something does not happen. Default 200. */
  readonly quietMs?: number
}

/** A case of the log suite. `needs` answers the reason why it does not apply. */
export interface LogCase {
  readonly name: string
  readonly source: string
  readonly needs?: (world: LogWorld) => string | undefined
  readonly run: (world: LogWorld) => Promise<void>
}

/** An append that was stored. */
export type Stored = Extract<Appended, { as: 'stored' }>

/** What a case may do: one log, and streams nobody else uses. */
export class LogWorld {
  readonly options: EventLogConformanceOptions
  readonly patienceMs: number
  readonly quietMs: number
  log!: EventLog<unknown>
  readonly #logs: EventLog<unknown>[] = []
  readonly #prefix: string = `s-${newId().slice(-12)}`
  #names = 0

  constructor(options: EventLogConformanceOptions) {
    this.options = options
    this.patienceMs = options.patienceMs ?? 10_000
    this.quietMs = options.quietMs ?? 200
  }

  async open(): Promise<void> {
    this.log = await this.another()
  }

  /** Another log on the same streams, not connected yet. */
  async unconnected(): Promise<EventLog<unknown>> {
    const log = (await this.options.create()) as EventLog<unknown>
    this.#logs.push(log)
    return log
  }

  async another(): Promise<EventLog<unknown>> {
    const log = await this.unconnected()
    await this.connect(log)
    return log
  }

  connect(log: EventLog<unknown>): Promise<void> {
    const context = {
      bus: 'conformance',
      instanceId: newId().slice(-12),
      clock: systemClock,
      logger: silentLogger,
      onState: () => {},
    }
    return this.settles(log.connect(context), 'connect')
  }

  async close(): Promise<void> {
    await this.settles(Promise.all(this.#logs.map(log => log.close())), 'close')
  }

  async restart(): Promise<void> {
    await this.close()
    this.#logs.length = 0
    await this.options.restart?.()
    await this.open()
  }

  name(): string {
    return `${this.#prefix}-${++this.#names}`
  }

  /** A fresh stream with these options. */
  async stream(options: Omit<StreamTopology, 'name'> = {}): Promise<string> {
    const name = this.name()
    await this.settles(this.log.declare([{ name, ...options }]), 'declare')
    return name
  }

  /** One batch, which must be stored. */
  async append(
    stream: string,
    records: readonly (string | AppendRecord)[],
    more: Partial<AppendBatch> = {},
    log: EventLog<unknown> = this.log,
  ): Promise<Stored> {
    const [answer] = await this.settles(log.append([batchOf(stream, records, more)]), 'append')
    assert.equal(answer?.as, 'stored', `the batch must be stored, not be ${JSON.stringify(answer)}`)
    return answer
  }

  read(request: ReadRequest, log: EventLog<unknown> = this.log): Promise<ReadResult> {
    return this.settles(log.read(request), 'read')
  }

  /** All records of a partition, from the first kept one to the end at the call. */
  async all(stream: string, partition = 0, log: EventLog<unknown> = this.log): Promise<LogRecord[]> {
    const records: LogRecord[] = []
    let from: ReadRequest['from'] = 'start'
    let stopAt: number | undefined
    for (;;) {
      const result: ReadResult = await this.read({ stream, partition, from }, log)
      stopAt ??= result.end
      records.push(...result.records)
      if (result.records.length === 0 || result.next >= stopAt) return records
      from = result.next
    }
  }

  /** The values of a partition as texts. */
  async texts(stream: string, partition = 0, log: EventLog<unknown> = this.log): Promise<string[]> {
    return (await this.all(stream, partition, log)).map(textOf)
  }

  /** All records of all partitions, as texts. */
  async everything(stream: string): Promise<string[]> {
    const { partitions } = await this.describe(stream)
    const texts: string[] = []
    for (const { partition } of partitions) texts.push(...(await this.texts(stream, partition)))
    return texts
  }

  async describe(stream: string): Promise<StreamDescription> {
    const { streams } = await this.settles(this.log.describe({ stream }), 'describe')
    assert.equal(streams.length, 1, 'describe of one stream answers with that one')
    return streams[0] as StreamDescription
  }

  async first(stream: string): Promise<number> {
    return (await this.describe(stream)).partitions[0]?.first ?? Number.NaN
  }

  /** A read that a case looks at later; when the case fails before, nobody does. */
  pending(request: ReadRequest, log: EventLog<unknown> = this.log): Promise<ReadResult> {
    const result = log.read(request)
    result.catch(() => {})
    return result
  }

  rejects(promise: Promise<unknown>, code: string, what: string): ReturnType<typeof rejection> {
    return rejection(promise, code, what, this.patienceMs)
  }

  settles<T>(promise: Promise<T>, what: string): Promise<T> {
    return settles(promise, what, this.patienceMs)
  }

  until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
    return until(holds, what, this.patienceMs)
  }
}

/** A batch of records; texts become values. */
export function batchOf(
  stream: string,
  records: readonly (string | AppendRecord)[],
  more: Partial<AppendBatch> = {},
): AppendBatch {
  return {
    stream,
    records: records.map(one => (typeof one === 'string' ? { value: new TextEncoder().encode(one) } : one)),
    ...more,
  }
}

/** A record of this key and text. */
export function keyed(key: string, text: string): AppendRecord {
  return { key, value: new TextEncoder().encode(text) }
}

export function textOf(record: LogRecord): string {
  return record.value === null ? '(tombstone)' : new TextDecoder().decode(record.value)
}

/** `from`, `from + 1`, … : `count` numbers. */
export function numbers(from: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => from + index)
}
