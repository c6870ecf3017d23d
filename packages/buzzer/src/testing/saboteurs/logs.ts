import type { AppendBatch, Appended, EventLog, LogRecord, ReadRequest, ReadResult } from '../../transport/index.ts'
import { type MemoryBroker, memoryBroker, type MemoryLog, memoryLog } from '../../transport/transports/memory.ts'
import type { EventLogConformanceOptions } from '../event-log-conformance.ts'
import { after, without } from './saboteur.ts'

/** A log that breaks one promise, and the cases that must notice. */
export interface LogSaboteur {
  readonly name: string
  /** How the names of the cases begin that must fail. */
  readonly caughtBy: readonly string[]
  options(): EventLogConformanceOptions
}

/** What all logs of one saboteur share. */
interface Scene {
  broker: MemoryBroker
  readonly memory: Map<unknown, unknown>
}

/** Saboteurs are not typed by transactions: what they take they hand on. */
type Break = (honest: EventLog & Pick<MemoryLog, 'admin'>, scene: Scene) => Partial<EventLog>

function saboteur(
  name: string,
  caughtBy: readonly string[],
  breakIt: Break,
  more: (scene: Scene) => Partial<EventLogConformanceOptions> = () => ({}),
): LogSaboteur {
  return {
    name,
    caughtBy,
    options() {
      const scene: Scene = { broker: memoryBroker(), memory: new Map() }
      return {
        name,
        create() {
          const honest = memoryLog({ broker: scene.broker })
          return { ...honest, ...breakIt(honest, scene) }
        },
        transaction: work => scene.broker.transaction(work),
        restart: () => Promise.resolve(),
        ...more(scene),
      }
    },
  }
}

/** Changes each batch on its way in; several come out as several, and the answers of the first are given. */
function appending(change: (batch: AppendBatch) => AppendBatch): Break {
  return honest => ({ append: (batches, options) => honest.append(batches.map(change), options) })
}

/** Changes each record on its way out; `undefined` hides it. */
function showing(change: (record: LogRecord, scene: Scene) => LogRecord | undefined): Break {
  return (honest, scene) => ({
    async read(request) {
      const result = await honest.read(request)
      return { ...result, records: result.records.flatMap(record => change(record, scene) ?? []) }
    },
  })
}

function asking(change: (request: ReadRequest) => ReadRequest): Break {
  return honest => ({ read: request => honest.read(change(request)) })
}

function answering(change: (result: ReadResult) => ReadResult): Break {
  return honest => ({ read: async request => change(await honest.read(request)) })
}

const oneByOne: Break = honest => ({
  async append(batches, options) {
    const answers: Appended[] = []
    for (const batch of batches) answers.push(...(await honest.append([batch], options)))
    return answers
  },
})

const guess = { as: 'stored', partition: 0, position: 1, time: 0 } as const
const nextTurn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

/** Logs that break one promise each: the proof that every case of `eventLogConformance` can fail. */
export const logSaboteurs: readonly LogSaboteur[] = [
  // Appending.
  saboteur(
    'keeps one header of each name',
    ['what was appended comes out'],
    showing(record => ({ ...record, headers: [...new Map(record.headers)] })),
  ),
  saboteur(
    'takes a tombstone for an empty value',
    ['a tombstone is told'],
    showing(record => ({ ...record, value: record.value ?? new Uint8Array() })),
  ),
  saboteur('keeps what it was given', ['nobody shares bytes'], (honest, { memory }) => ({
    append(batches, options) {
      for (const { stream, records } of batches) for (const { value } of records) memory.set(stream, value)
      return honest.append(batches, options)
    },
    async read(request) {
      const result = await honest.read(request)
      const value = memory.get(request.stream) as Uint8Array
      return { ...result, records: result.records.map(record => ({ ...record, value })) }
    },
  })),
  saboteur('answers before it has stored', ['an append answers where it lies'], honest => ({
    append(batches, options) {
      void nextTurn()
        .then(() => honest.append(batches, options))
        .catch(() => {})
      return Promise.resolve(batches.map(({ partition = 0 }) => ({ ...guess, partition })))
    },
  })),
  saboteur('counts from 0', ['positions rise'], honest => ({
    async append(batches, options) {
      const answers = await honest.append(batches, options)
      return answers.map(one => (one.as === 'stored' ? { ...one, position: one.position - 1 } : one))
    },
    async read(request) {
      const from = typeof request.from === 'number' ? request.from + 1 : request.from
      const { records, next, first, end } = await honest.read({ ...request, from })
      const moved = records.map(record => ({ ...record, position: record.position - 1 }))
      return { records: moved, next: next - 1, first: first - 1, end: end - 1 }
    },
  })),
  saboteur('swaps two', ['calls are stored in the order'], (honest, { memory }) => ({
    async append(batches, options) {
      const count = Number(memory.get('count') ?? 0)
      memory.set('count', count + 1)
      if (count === 500) await nextTurn()
      return honest.append(batches, options)
    },
  })),
  saboteur('stores record by record', ['of two writers at once'], honest => ({
    async append(batches, options) {
      const answers: Appended[] = []
      for (const batch of batches) {
        const parts: Appended[] = []
        for (const record of batch.records) {
          parts.push(...(await honest.append([{ ...batch, records: [record] }], options)))
        }
        answers.push(parts[0] as Appended)
      }
      return answers
    },
  })),
  saboteur(
    'loses the last of a batch',
    ['positions rise', 'all batches of a call'],
    appending(batch => (batch.records.length > 1 ? { ...batch, records: batch.records.slice(0, -1) } : batch)),
  ),
  saboteur(
    'commits batch by batch',
    ['a call with one batch that cannot', 'a missed expectation', 'an expectation sees'],
    oneByOne,
  ),
  saboteur(
    'has a hash of its own',
    ['a key goes to the partition'],
    appending(batch => {
      const key = batch.records[0]?.key
      return batch.partition === undefined && key !== undefined ? { ...batch, partition: key.length % 2 } : batch
    }),
  ),
  saboteur('splits batches by key', ['a batch whose keys go'], honest => ({
    async append(batches, options) {
      const parts = batches.flatMap(batch => batch.records.map(record => ({ ...batch, records: [record] })))
      return (await honest.append(parts, options)).slice(0, batches.length)
    },
  })),
  saboteur(
    'knows one partition only',
    ['batches without keys'],
    appending(batch => ({ ...batch, partition: batch.partition ?? 0 })),
  ),
  saboteur('knows no size', ['a record above'], (honest, scene) => {
    const vast = memoryLog({ broker: scene.broker, maxMessageBytes: 1e9 })
    return { ...vast, capabilities: honest.capabilities }
  }),
  saboteur('swallows what it cannot store', ['what cannot be appended', 'a call with one batch'], honest => ({
    async append(batches, options) {
      return honest.append(batches, options).catch(() => batches.map(() => guess))
    },
  })),
  saboteur('drops what is beyond 16 MiB', ['more than 16 MiB'], (honest, { memory }) => ({
    async append(batches, options) {
      const bytes = batches.reduce((sum, { records }) => sum + (records[0]?.value?.byteLength ?? 0), 0)
      const outstanding = Number(memory.get('bytes') ?? 0) + bytes
      memory.set('bytes', outstanding)
      void nextTurn().then(() => memory.set('bytes', 0))
      return outstanding > 16 * 1024 * 1024 ? batches.map(() => guess) : honest.append(batches, options)
    },
  })),
  saboteur(
    'lets time decrease',
    ["time is the log's"],
    showing(record => ({ ...record, time: record.time - record.position })),
  ),
  saboteur('ignores the signal of an append', ['an append whose signal'], honest => ({
    append: (batches, options = {}) => honest.append(batches, without(options, 'signal')),
  })),

  // Reading.
  saboteur(
    'takes the end for the start',
    ['a read begins'],
    asking(request => (request.from === 'end' ? { ...request, from: 'start' } : request)),
  ),
  saboteur('jumps silently', ['a position beyond', 'trim forgets'], honest => ({
    async read(request) {
      return honest.read(request).catch(() => honest.read({ ...request, from: 'start', waitMs: 0 }))
    },
  })),
  saboteur('finds nothing where nothing is', ['a read of a stream'], honest => ({
    async read(request) {
      return honest.read(request).catch(() => ({ records: [], next: 1, first: 1, end: 1 }))
    },
  })),
  saboteur(
    'takes a time as excluded',
    ['from a time'],
    asking(request =>
      typeof request.from === 'object' ? { ...request, from: { time: request.from.time + 1 } } : request,
    ),
  ),
  saboteur(
    'gives all at once',
    ['maxRecords and maxBytes'],
    asking(request => ({ ...request, maxRecords: 10_000, maxBytes: 16 * 1024 * 1024 })),
  ),
  saboteur(
    'hands a record out twice',
    ['reads follow each other', 'who follows'],
    answering(result => (result.records.length > 1 ? { ...result, next: result.next - 1 } : result)),
  ),
  saboteur(
    'never waits',
    ['a read with nothing'],
    asking(request => ({ ...request, waitMs: 0 })),
  ),
  saboteur('wakes nobody', ['a waiting read is woken', 'a hundred waiting'], honest => ({
    async read(request) {
      const result = await honest.read({ ...request, waitMs: 0 })
      if (result.records.length === 0) await after(request.waitMs ?? 0)
      return result
    },
  })),
  saboteur(
    'ignores the signal of a read',
    ['a hundred waiting'],
    asking(request => without(request, 'signal')),
  ),
  saboteur('skips a late commit', ['who follows'], (honest, { memory }) => ({
    async append(batches, options) {
      const answers = await honest.append(batches, options)
      for (const [index, answer] of answers.entries()) {
        const size = batches[index]?.records.length ?? 0
        if (answer.as !== 'stored' || size < 10) continue
        // Numbers were given; what they stand for is not to be seen yet.
        for (let at = 0; at < size; at++) memory.set(answer.position + at, true)
        await nextTurn()
        for (let at = 0; at < size; at++) memory.delete(answer.position + at)
      }
      return answers
    },
    async read(request) {
      const result = await honest.read(request)
      return { ...result, records: result.records.filter(({ position }) => !memory.has(position)) }
    },
  })),
  saboteur('lets writers wait for readers', ['a reader that stands still'], (honest, { memory }) => ({
    async append(batches, options) {
      const readers = memory.get('readers') as Promise<unknown> | undefined
      await readers
      return honest.append(batches, options)
    },
    read(request) {
      const result = honest.read(request)
      if ((request.waitMs ?? 0) > 0)
        memory.set(
          'readers',
          result.catch(() => {}),
        )
      return result
    },
  })),

  // Expecting and repeating.
  saboteur(
    'ignores an expectation',
    [
      'an append that expects the end',
      'an append that expects the last record',
      'of many appends at once for one key',
      'an expected position of a key',
    ],
    appending(batch => without(batch, 'expect')),
  ),
  saboteur('looks first and appends later', ['of many appends at once that expect the same end'], honest => ({
    async append(batches, options) {
      for (const { stream, partition = 0, expect } of batches) {
        if (expect === undefined || !('end' in expect)) continue
        const { end } = await honest.read({ stream, partition, from: 'end' })
        if (end !== expect.end) return honest.append(batches, options)
      }
      await nextTurn()
      return honest.append(
        batches.map(batch => without(batch, 'expect')),
        options,
      )
    },
  })),
  saboteur(
    'forgets what producers sent',
    ["a named producer's number"],
    appending(batch => without(batch, 'producer')),
  ),
  saboteur('fences nobody', ['opening a producer'], (honest, { memory }) => ({
    async openProducer(stream, name) {
      const key = `${stream}/${name}`
      const opened = memory.get(key) ?? (await honest.openProducer(stream, name))
      memory.set(key, opened)
      return opened as Awaited<ReturnType<EventLog['openProducer']>>
    },
  })),
  saboteur('takes all producers for one', ['producers are told apart'], honest => ({
    openProducer: stream => honest.openProducer(stream, 'one'),
    append: (batches, options) =>
      honest.append(
        batches.map(batch =>
          batch.producer === undefined ? batch : { ...batch, producer: { ...batch.producer, name: 'one' } },
        ),
        options,
      ),
  })),
  saboteur(
    'stores repeats',
    [
      'a deduplication key seen',
      'of many appends at once with one deduplication key',
      'a deduplication key on a stream without',
    ],
    appending(batch => without(batch, 'deduplicationKey')),
  ),
  saboteur('never forgets a key', ['a deduplication key is new again'], honest => ({
    declare: streams =>
      honest.declare(
        streams.map(one => (one.deduplicationWindowMs === undefined ? one : { ...one, deduplicationWindowMs: 6e5 })),
      ),
  })),

  // Topology and keeping.
  saboteur('declares once', ['declare is idempotent'], (honest, { memory }) => ({
    declare(streams) {
      const fresh = streams.filter(({ name }) => !memory.has(name))
      for (const { name } of streams) memory.set(name, true)
      return honest.declare(fresh)
    },
  })),
  saboteur('takes any declaration', ['a differing option', 'names and options'], honest => ({
    async declare(streams) {
      for (const stream of streams) await honest.declare([stream]).catch(() => {})
    },
  })),
  saboteur('weighs nothing', ['describe tells'], honest => ({
    async describe(request) {
      const { streams } = await honest.describe(request)
      return {
        streams: streams.map(one => ({ ...one, partitions: one.partitions.map(part => ({ ...part, bytes: 0 })) })),
      }
    },
  })),
  ...(['addPartitions', 'alter', 'deleteStream'] as const).map((call, index) =>
    saboteur(
      `does nothing for ${call}`,
      [['partitions added', 'retention and window', 'a deleted stream'][index] as string],
      honest => ({ admin: { ...honest.admin, [call]: () => Promise.resolve() } }),
    ),
  ),
  saboteur('trims nothing', ['trim forgets', 'a key whose records are all gone'], honest => ({
    admin: { ...honest.admin, trim: (_stream, _partition, before) => Promise.resolve({ first: before }) },
  })),
  saboteur('keeps for ever', ['records older than maxAgeMs', 'beyond maxBytes'], honest => ({
    declare: streams => honest.declare(streams.map(one => without(one, 'retention'))),
  })),
  saboteur('keeps the key of a forgotten record', ['a key whose records are all gone'], (honest, { memory }) => ({
    append(batches, options) {
      for (const { expect } of batches) {
        if (expect !== undefined && 'key' in expect && expect.last === 'none' && memory.has(expect.key)) {
          return honest.append([{ ...(batches[0] as AppendBatch), expect: { ...expect, last: 1 } }], options)
        }
      }
      for (const { records } of batches) for (const { key } of records) memory.set(key, true)
      return honest.append(batches, options)
    },
  })),

  // Life.
  saboteur('never closes', ['before connect and after close'], () => ({ close: () => Promise.resolve() })),
  saboteur('drops at close what was appended', ['close finishes'], honest => ({
    async append(batches, options) {
      await after(5)
      return honest.append(batches, options)
    },
  })),
  saboteur(
    'claims to be durable and forgets',
    ['streams, records, keys'],
    honest => ({ capabilities: { ...honest.capabilities, durability: 'durable' } }),
    scene => ({
      async restart() {
        scene.broker = memoryBroker()
      },
    }),
  ),
  saboteur(
    "appends past the caller's transaction",
    ["appends in a caller's transaction", 'a follower misses nothing'],
    honest => ({ append: batches => honest.append(batches) }),
  ),
  saboteur("ignores the caller's transaction", ["a caller's transaction is refused"], honest => ({
    capabilities: { ...honest.capabilities, transactions: 'none' },
    append: batches => honest.append(batches),
  })),
]
