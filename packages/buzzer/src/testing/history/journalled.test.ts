import { appendFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import { BuzzerError, silentLogger, systemClock } from '../../message/index.ts'
import type { OutgoingMessage, Settlement, Transport } from '../../transport/index.ts'
import { memory, type MemoryTransport } from '../../transport/transports/memory.ts'
import { checkHistory } from './check-history.ts'
import { type HistoryRecord, recordsOf } from './history-record.ts'
import { Journal, readJournals } from './journal.ts'
import { journalled } from './journalled.ts'
import { notePresent } from './note-present.ts'

let history: HistoryRecord[]
let inner: MemoryTransport
const write = (record: HistoryRecord): void => void history.push(record)

function message(id: string, more: Partial<OutgoingMessage> = {}): OutgoingMessage {
  return {
    id,
    to: { queue: 'q' },
    attributes: {},
    headers: {},
    body: Buffer.from(id),
    priority: 4,
    mandatory: true,
    ...more,
  }
}

beforeEach(async () => {
  history = []
  inner = memory()
  await inner.connect({ bus: 'b', instanceId: 'i', clock: systemClock, logger: silentLogger, onState() {} })
  await inner.declare({
    queues: [{ name: 'q' }, { name: 'out', maxMessages: 1 }],
    topics: [{ name: 't', bases: [] }],
    bindings: [
      { topic: 't', queue: 'q', exclusive: false },
      { topic: 't', queue: 'out', exclusive: false },
    ],
  })
  return () => inner.close()
})

function told(...kinds: HistoryRecord['as'][]): object[] {
  return recordsOf(history, ...kinds).map(record => ({ ...record, at: 0 }))
}

/** Handles one message with some answers, and stops when it has settled. */
async function handleAll(transport: Transport, answers: readonly Settlement[]): Promise<void> {
  const left = [...answers]
  const { promise, resolve } = Promise.withResolvers<void>()
  const receiver = await transport.receive(
    'q',
    async () => {
      const answer = left.shift() ?? { as: 'ack' }
      if (left.length === 0) resolve()
      return answer
    },
    { maxInFlight: 1, orderBy: 'none' },
  )
  await promise
  await receiver.stop()
}

describe('a journalled transport', () => {
  it('writes a send before it is made, and its outcome', async () => {
    const transport = journalled(inner, { process: 'p', write })
    await transport.send([message('a', { key: 'k', deliverAt: 5 })], {
      state: [{ op: 'put', collection: 'c', id: 'r', value: 1, expected: 'absent' }],
    })
    await expect(transport.send([message('b', { to: { queue: 'nowhere' } })])).rejects.toThrow(/nowhere/)
    expect(told('send', 'sent')).toMatchObject([
      { as: 'send', call: 1, messages: [{ id: 'a', queue: 'q', key: 'k', due: 5 }], records: ['c/r'] },
      { as: 'sent', call: 1, outcome: 'ok' },
      { as: 'send', call: 2, messages: [{ id: 'b', queue: 'nowhere' }] },
      { as: 'sent', call: 2, outcome: 'fail' },
    ])
  })

  it('leaves the outcome unknown unless the broker says that nothing was stored', async () => {
    const errors = [
      new Error('gone'),
      new BuzzerError('BUZZER_ABORTED', 'late', { details: { outcome: 'unknown' } }),
      new BuzzerError('BUZZER_ABORTED', 'early', { details: { outcome: 'not-stored' } }),
      new BuzzerError('BUZZER_SEND_FAILED', 'in parts', { details: { results: ['stored', 'not-stored', 'unknown'] } }),
    ]
    const failing = { ...inner, send: () => Promise.reject(errors.shift()) }
    const transport = journalled(failing, { process: 'p', write })
    for (const id of ['a', 'b', 'c']) await transport.send([message(id)]).catch(() => undefined)
    await transport.send(['d', 'e', 'f'].map(id => message(id))).catch(() => undefined)
    expect(told('sent')).toMatchObject([
      { outcome: 'unknown' },
      { outcome: 'unknown' },
      { outcome: 'fail' },
      { outcome: 'unknown', outcomes: ['ok', 'fail', 'unknown'] },
    ])
  })

  it('writes one copy for each queue of a topic, and refuses a topic whose queues it was not told', async () => {
    const published = message('a', { to: { topic: 't', bases: [] } })
    const blind = journalled(inner, { process: 'p', write })
    await expect(blind.send([published])).rejects.toMatchObject({ code: 'BUZZER_INVALID_OPTION' })
    expect(history).toEqual([])
    const transport = journalled(inner, { process: 'p', write, queuesOf: () => ['q', 'out'] })
    await transport.send([published])
    expect(told('send')).toMatchObject([{ messages: [{ queue: 'q' }, { queue: 'out' }] }])
  })

  it('writes what a settlement does, a refusal, and the answer that is given instead', async () => {
    const transport = journalled(inner, { process: 'p', write })
    await inner.send([message('full', { to: { queue: 'out' } })])
    await transport.send([message('a')])
    await handleAll(transport, [{ as: 'ack', send: [message('o', { to: { queue: 'out' } })] }, { as: 'ack' }])
    expect(told('begun', 'answered', 'refused')).toMatchObject([
      { as: 'begun', id: 'a', attempt: 1 },
      { as: 'answered', how: 'ack', outputs: [{ id: 'o', queue: 'out' }] },
      { as: 'refused', id: 'a', attempt: 1 },
      { as: 'answered', how: 'retry' },
      { as: 'begun', id: 'a', attempt: 2 },
      { as: 'answered', how: 'ack' },
    ])
    expect(checkHistory(history)).toEqual([])
  })

  it('writes a rejection as a retry, and a lost lock when the handler is told', async () => {
    const transport = journalled(inner, { process: 'p', write })
    await transport.send([message('a')])
    const begun = Promise.withResolvers<void>()
    const free = Promise.withResolvers<void>()
    let calls = 0
    await transport.receive(
      'q',
      async () => {
        if (++calls === 1) throw new Error('no')
        begun.resolve()
        await free.promise
        return { as: 'ack' }
      },
      { maxInFlight: 1, orderBy: 'none' },
    )
    await begun.promise
    await inner.close()
    free.resolve()
    await free.promise
    await new Promise(resolve => setImmediate(resolve))
    expect(told('answered', 'lost')).toMatchObject([
      { as: 'answered', attempt: 1, how: 'retry' },
      { as: 'lost', attempt: 2 },
      { as: 'answered', attempt: 2, how: 'ack' },
    ])
  })

  it('notes what is left, equal in its digest, dead letters included', async () => {
    const transport = journalled(inner, { process: 'p', write })
    await transport.send([message('a', { headers: { x: '1', y: '2' }, contentType: 'text/plain' }), message('b')])
    await handleAll(transport, [{ as: 'dead-letter', reason: 'test' }])
    const waiting = await notePresent(inner.admin, ['q', 'out'], write)
    expect(waiting).toBe(recordsOf(history, 'present').filter(({ state }) => state !== 'dead').length)
    expect(recordsOf(history, 'present').some(({ state }) => state === 'dead')).toBe(true)
    expect(checkHistory(history)).toEqual([])
  })
})

describe('journals', () => {
  it('are read together, without a last line that a kill cut short', () => {
    const folder = mkdtempSync(join(tmpdir(), 'buzzer-journal-'))
    try {
      const records = ['p', 'q'].map(process => ({ as: 'born', process, at: 1 }) as const)
      for (const record of records) {
        using journal = new Journal(folder, record.process, { sync: true })
        journal.write(record)
      }
      appendFileSync(join(folder, 'q.jsonl'), '{"as":"born","proc')
      expect(readJournals(folder)).toEqual(records)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
