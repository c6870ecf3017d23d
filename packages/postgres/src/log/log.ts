import { randomUUID } from 'node:crypto'
import { AbortedError, BuzzerError, type Clock, silentLogger, systemClock } from 'buzzer'
import {
  type Appended,
  type AppendBatch,
  type AppendOptions,
  checkAppend,
  checkKeysMayMove,
  checkProducerName,
  checkTrim,
  type EventLog,
  type LogAdmin,
  type LogCapabilities,
  logPosition,
  partitionNotFound,
  type ReadResult,
  resolveRead,
  streamNotFound,
  type TransportContext,
} from 'buzzer/transport'
import type { SharedDatabase } from '../connection/shared-database.ts'
import { Notices } from '../notices.ts'
import { checkTx, quoteIdentifier, rowsOf, type SqlHandle, type Tx } from '../sql-handle.ts'
import { type AppendCall, targetOf, toCall } from './append-call.ts'
import { AppendStep, type CallOutcome, StaleStream } from './append-step.ts'
import { Appender, type Grown } from './appender.ts'
import { nameBytes } from './group-state.ts'
import { describe } from './describe.ts'
import { LogKeeper } from './keeper.ts'
import { StagedMover } from './mover.ts'
import { LogReader } from './reader.ts'
import { checkStaged, stage, type StreamPartition } from './staged.ts'
import { type KnownStream, Streams } from './streams.ts'
import { partitionNotice, WaitingReads } from './waiting-reads.ts'

/** The log of a PostgreSQL database. */
export interface PostgresLog extends EventLog<Tx> {
  /** A program without a bus may leave out what it has not: clock and logger are the process's own and none. */
  connect(context?: Partial<TransportContext>): Promise<void>
  readonly admin: Required<LogAdmin>
}

export interface LogSettings {
  /** How often waited-for partitions are looked at without a notification. Milliseconds. Spec streams 4.3: 250. */
  readonly pollMs: number
  readonly segmentBytes: number
  readonly segmentMs: number
  /** How often retention looks at all streams. Milliseconds. */
  readonly keepMs: number
}

export const defaultLogSettings: LogSettings = {
  pollMs: 250,
  segmentBytes: 256 * 1024 * 1024,
  segmentMs: 24 * 3_600_000,
  keepMs: 60_000,
}

const capabilities: LogCapabilities = Object.freeze({
  expected: 'key',
  producers: 'durable',
  deduplication: 'native',
  transactions: 'caller',
  positions: 'dense',
  compaction: 'none',
  durability: 'durable',
  maxRecordBytes: 16 * 1024 * 1024,
})

/** Of this package's notifications. */
const topic = 'log'
const closeLimitMs = 30_000
/** Looks at a stream that changes all the time. */
const maxTries = 10
/** One statement carries a call whole. */
const maxCallBytes = 256 * 1024 * 1024

const plainContext: TransportContext = {
  bus: '',
  instanceId: '',
  clock: systemClock,
  logger: silentLogger,
  onState() {},
}

/** Everything of the connected time of a log. */
interface Running {
  readonly clock: Clock
  readonly appender: Appender
  readonly mover: StagedMover
  readonly keeper: LogKeeper
  readonly waiting: WaitingReads
  readonly notices: Notices
  readonly listening: Disposable | undefined
  readonly connection: Disposable
}

/**
 * The event log of a database. Source: spec streams 10.
 *
 * Inside a caller's transaction records are staged: they get their positions within about 250 ms after its commit, by any
 * process with a log; of two transactions that commit within that time, whichever appended first comes first. A batch with
 * `expect` or `producer` is judged at once instead, and its partition's row stays locked until the caller's commit: other
 * appends to that partition, and what their log objects append after them, wait so long.
 */
export function logOver(database: SharedDatabase, settings: LogSettings = defaultLogSettings): PostgresLog {
  const { handle, looks, transaction } = database
  const { declare: mode } = database.options
  const schema = quoteIdentifier(database.options.schema)
  const streams = new Streams(schema)
  const step = new AppendStep(schema, streams)
  const reader = new LogReader(looks, schema, streams)
  const writer = randomUUID()
  // Many short-lived processes must not all begin with the first partition.
  const firstTurn = Number.parseInt(writer.slice(0, 4), 16)
  const turns = new Map<string, number>()
  let state: 'new' | 'open' | 'closed' = 'new'
  let running: Promise<Running> | undefined
  let closing: Promise<void> | undefined

  const ready = (): Promise<Running> => {
    if (state !== 'open' || running === undefined) throw notRunning()
    return running
  }

  /** A transport opens its log with it; only a log that is used looks after its streams. */
  const used = async (started: Promise<Running>): Promise<Running> => {
    const all = await started
    all.mover.start()
    all.keeper.start()
    return all
  }

  const turnOf = (stream: string): number => {
    if (turns.size >= 10_000) turns.clear()
    const turn = turns.get(stream) ?? firstTurn
    turns.set(stream, turn + 1)
    return turn
  }

  async function begin(context: TransportContext): Promise<Running> {
    const connection = await database.open(context)
    const { clock, logger } = context
    const { notifications } = database
    const waiting = new WaitingReads({ handle, schema, clock, logger, pollMs: settings.pollMs })
    const listening = notifications?.listen(topic, {
      onPayload: payload => waiting.hint(payload),
      onGap: () => waiting.wakeAll(),
    })
    const notices = new Notices(async payload => notifications?.notify(topic, payload), clock)
    const keeper = new LogKeeper({
      database,
      schema,
      clock,
      logger,
      settings: { segmentBytes: settings.segmentBytes, segmentMs: settings.segmentMs, everyMs: settings.keepMs },
    })
    const onGrown = (grown: Grown): void => {
      const names = grown.map(([stream, partition]) => partitionNotice(stream, partition))
      waiting.hint(names.join(','))
      if (notifications !== undefined) notices.tell(names)
      keeper.touch(grown.map(([stream]) => stream))
    }
    const appender = new Appender({ database, step, clock, writer, onGrown })
    const isWatched = (): boolean => !waiting.isEmpty
    const mover = new StagedMover({ database, schema, step, writer, clock, logger, onGrown, isWatched })
    return { clock, appender, mover, keeper, waiting, notices, listening, connection }
  }

  async function end(): Promise<void> {
    const started = await running?.catch(() => undefined)
    if (started === undefined) return
    const { appender, mover, keeper, waiting, notices, listening, connection } = started
    waiting.close()
    await appender.finish(closeLimitMs)
    await mover.close()
    await keeper.close()
    notices.close()
    listening?.[Symbol.dispose]()
    connection[Symbol.dispose]()
  }

  async function appendIn(tx: SqlHandle, call: AppendCall, mover: StagedMover): Promise<void> {
    const names = new Set(call.batches.map(batch => batch.stream))
    await streams.learn(tx, names)
    const known = new Map<string, KnownStream>()
    for (const name of names) {
      const stream = streams.known(name)
      if (stream === undefined) throw streamNotFound(name)
      known.set(name, stream)
    }
    const mustJudge = call.batches.some(batch => batch.expect !== undefined || batch.producer !== undefined)
    if (!mustJudge) {
      checkStaged(call, known)
      await stage(tx, schema, call, known)
      mover.alert()
      return
    }
    // What this transaction has staged before comes before.
    const partitions = call.batches.map(batch => ({
      stream: batch.stream,
      partition: targetOf(batch, known.get(batch.stream) as KnownStream),
    }))
    const outcome = await judgeIn(tx, call, partitions)
    if (outcome instanceof Error) throw outcome
    // Readers here and elsewhere find it by polling: only the caller knows when it commits.
  }

  async function judgeIn(
    tx: SqlHandle,
    call: AppendCall,
    partitions: readonly StreamPartition[],
  ): Promise<CallOutcome | undefined> {
    for (let tries = 1; ; tries++) {
      try {
        return (await step.run(tx, [call], { writer, step: 0 }, partitions)).outcomes[0]
      } catch (error) {
        // Nothing was written: the caller's transaction goes on.
        if (!(error instanceof StaleStream) || tries === maxTries) throw error
      }
    }
  }

  const log: PostgresLog = {
    name: 'postgres',
    capabilities,
    async connect(context = {}) {
      if (state === 'closed') throw notRunning()
      state = 'open'
      running ??= begin({ ...plainContext, ...context })
      const started = running
      try {
        await started
      } catch (error) {
        if (running === started) running = undefined
        throw error
      }
    },
    async declare(topologies) {
      await used(ready())
      if (mode === 'none') return
      if (mode === 'verify') await streams.verify(looks, topologies)
      else await streams.declare(transaction, topologies)
    },
    async append(batches: readonly AppendBatch[], options: AppendOptions<Tx> = {}): Promise<readonly Appended[]> {
      const started = ready()
      const { tx, signal } = options
      if (signal?.aborted === true) throw new AbortedError(signal, 'the append', { outcome: 'not-stored' })
      const bytes = checkAppend(batches, 'postgres', capabilities)
      if (bytes > maxCallBytes) throw callTooLarge(bytes)
      const call = toCall(batches, bytes, turnOf)
      const { appender, mover } = await used(started)
      if (call.batches.length === 0) return []
      if (tx === undefined) return await appender.append(call, signal)
      await appendIn(checkTx(tx), call, mover)
      return batches.map((): Appended => ({ as: 'staged' }))
    },
    async read(given): Promise<ReadResult> {
      const started = ready()
      const request = resolveRead(given)
      const { stream, partition, signal, waitMs } = request
      if (signal?.aborted === true) throw new AbortedError(signal, 'the read')
      const { waiting, clock } = await used(started)
      if (waitMs === 0) return await reader.read(request, request.from)
      const until = clock.monotonic() + waitMs
      for (let from = request.from; ; ) {
        using wait = waiting.begin(stream, partition)
        const result = await reader.read(request, from)
        const leftMs = until - clock.monotonic()
        if (result.records.length > 0 || leftMs <= 0) return result
        from = result.next
        await wait.until(result.next, leftMs, signal)
      }
    },
    async openProducer(stream, name) {
      await ready()
      checkProducerName(name)
      await streams.refresh(looks, [stream])
      const known = streams.known(stream)
      if (known === undefined) throw streamNotFound(stream)
      const [row] = await rowsOf<{ epoch: number; last: number }>(
        handle,
        `insert into ${schema}.log_producer as p (stream, name, epoch, last_sequence, batches)
         values ($1::integer, decode($2::text, 'hex'), 1, 0, 0)
         on conflict (stream, name) do update set epoch = p.epoch + 1
         returning epoch::double precision as epoch, last_sequence::double precision as last`,
        [known.id, nameBytes(name)],
      )
      return { epoch: row?.epoch ?? 0, lastSequence: row?.last ?? 0 }
    },
    async describe(request = {}) {
      await ready()
      return { streams: await describe(looks, schema, request.stream) }
    },
    close() {
      state = 'closed'
      closing ??= end()
      return closing
    },
    admin: {
      async trim(stream, partition, before) {
        await ready()
        checkTrim(before)
        const { first, end: next } = await partitionOf(stream, partition)
        if (before > next) throw logPosition(stream, partition, before, next)
        if (before <= first) return { first }
        await handle.query(
          `select ${schema}.log_forget(s.id, $2::integer, null, null, $3::bigint) as moved
           from ${schema}.log_stream s where s.name = $1::text`,
          [stream, partition, before],
        )
        return { first: (await partitionOf(stream, partition)).first }
      },
      async addPartitions(stream, partitions, options) {
        await ready()
        checkKeysMayMove(options)
        await streams.addPartitions(transaction, stream, partitions)
      },
      async alter(stream, options) {
        await ready()
        await streams.alter(transaction, stream, options)
      },
      async deleteStream(stream) {
        const { waiting, notices } = await ready()
        const [description] = await describe(looks, schema, stream)
        await streams.delete(transaction, stream)
        const names = (description?.partitions ?? []).map(({ partition }) => partitionNotice(stream, partition))
        waiting.hint(names.join(','))
        if (database.notifications !== undefined) notices.tell(names)
      },
    },
  }
  return log

  async function partitionOf(stream: string, partition: number): Promise<{ first: number; end: number }> {
    const [description] = await describe(looks, schema, stream)
    const found = description?.partitions.find(one => one.partition === partition)
    if (description === undefined) throw streamNotFound(stream)
    if (found === undefined) throw partitionNotFound(stream, partition, description.partitions.length)
    return found
  }
}

function callTooLarge(actualBytes: number): BuzzerError {
  return new BuzzerError(
    'BUZZER_MESSAGE_TOO_LARGE',
    `one call of append has ${actualBytes} bytes; at most ${maxCallBytes} are stored as one step. Make several calls of it`,
    { details: { actualBytes, limitBytes: maxCallBytes } },
  )
}

function notRunning(): BuzzerError {
  return new BuzzerError('BUZZER_NOT_RUNNING', 'the log is not connected, or is closed; make a new one')
}
