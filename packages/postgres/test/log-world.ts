import { randomBytes } from 'node:crypto'
import { silentLogger, systemClock } from 'buzzer'
import type { AppendBatch, LogRecord } from 'buzzer/transport'
import { SharedDatabase } from '../src/connection/shared-database.ts'
import { defaultLogSettings, type LogSettings, logOver, type PostgresLog } from '../src/log/log.ts'

export interface TestLogOptions {
  readonly url: string
  readonly schema: string
  /** Of the connections: `buzzer:<bus>` is their application name. */
  readonly bus?: string
  readonly notify?: boolean
  readonly settings?: Partial<LogSettings>
}

/** A connected log with a database of its own, as another process would have. */
export async function openLog(options: TestLogOptions): Promise<PostgresLog> {
  const { url, schema, bus = `log-${randomBytes(4).toString('hex')}`, notify = true, settings = {} } = options
  const database = new SharedDatabase({
    config: { connectionString: url },
    pool: undefined,
    schema,
    maxConnections: 4,
    statementTimeoutMs: 30_000,
    pooler: 'none',
    declare: 'create',
    notify,
  })
  const log = logOver(database, { ...defaultLogSettings, ...settings })
  await log.connect({ bus, instanceId: bus, clock: systemClock, logger: silentLogger, onState: () => undefined })
  return log
}

export function batch(stream: string, texts: readonly string[], more: Partial<AppendBatch> = {}): AppendBatch {
  return { stream, records: texts.map(text => ({ value: new TextEncoder().encode(text) })), ...more }
}

export function textOf({ value }: LogRecord): string {
  return new TextDecoder().decode(value ?? undefined)
}

/** All records of a partition from a place on, to the end at the call. */
export async function readAll(log: PostgresLog, stream: string, partition = 0): Promise<LogRecord[]> {
  const records: LogRecord[] = []
  for (let from: number | 'start' = 'start'; ; ) {
    const result = await log.read({ stream, partition, from, maxRecords: 10_000, maxBytes: 16 * 1024 * 1024 })
    records.push(...result.records)
    if (result.records.length === 0) return records
    from = result.next
  }
}

/** Follows a partition until `count` records have come, or `patienceMs` brought nothing new. */
export async function follow(
  log: PostgresLog,
  stream: string,
  count: number,
  patienceMs = 20_000,
): Promise<LogRecord[]> {
  const records: LogRecord[] = []
  for (let from: number | 'start' = 'start'; records.length < count; ) {
    const result = await log.read({ stream, partition: 0, from, maxRecords: 100, waitMs: patienceMs })
    if (result.records.length === 0) return records
    records.push(...result.records)
    from = result.next
  }
  return records
}
