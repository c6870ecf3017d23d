import { beforeEach, describe, expect, it } from 'vitest'
import { BuzzerError } from '../../message/index.ts'
import type { Appended } from '../../transport/index.ts'
import { ByteWriter, type ClientFrameSink, readBatches, readClientFrame } from '../protocol/index.ts'
import { PendingAppends } from './pending-appends.ts'

const mebibyte = 1024 * 1024

let writer: ByteWriter
let flushes: number
let appends: PendingAppends

beforeEach(() => {
  writer = new ByteWriter()
  flushes = 0
  appends = new PendingAppends({ writer, maxStepBytes: 4 * mebibyte, onWritten: () => {}, flush: () => flushes++ })
})

function append(stream: string, bytes = 1, signal?: AbortSignal): Promise<readonly Appended[]> {
  return appends.append([{ stream, records: [{ value: new Uint8Array(bytes) }] }], signal)
}

/** What the engine would read of what is written since the last call. */
function written(): [sequence: number, heard: number, streams: string[]][] {
  const read: [number, number, string[]][] = []
  const nothing = (): void => {}
  const sink: ClientFrameSink = {
    hello: nothing,
    send: nothing,
    settle: nothing,
    ack: nothing,
    request: nothing,
    beat: nothing,
    forfeit: nothing,
    bye: nothing,
    append: (sequence, heard, reader) => read.push([sequence, heard, readBatches(reader).map(({ stream }) => stream)]),
  }
  readClientFrame(writer.take(), sink)
  return read
}

const stored = (position: number): Appended => ({ as: 'stored', partition: 0, position, time: 1 })

describe('pending appends', () => {
  it('are numbered in the order of the calls, say what was heard, and resolve with their answers', async () => {
    const [a, b] = [append('a'), append('b')]
    expect(written()).toEqual([
      [1, 0, ['a']],
      [2, 0, ['b']],
    ])
    appends.answered(1, { answers: [stored(7)] })
    await expect(a).resolves.toEqual([stored(7)])
    const c = append('c')
    expect(written()).toEqual([[3, 1, ['c']]])
    appends.answered(2, {
      error: { code: 'BUZZER_LOG_CONFLICT', message: 'm', retryable: true, details: { actual: 3 } },
    })
    await expect(b).rejects.toMatchObject({ code: 'BUZZER_LOG_CONFLICT', retryable: true, details: { actual: 3 } })
    expect(appends.count).toBe(1)
    appends.answered(3, { answers: [stored(8)] })
    await c
    expect([appends.count, appends.answeredThrough]).toEqual([0, 3])
  })

  it('are written again on a new connection, but for those that are decided, whose answers follow', async () => {
    const all = ['a', 'b', 'c'].map(stream => append(stream))
    writer.take()
    appends.welcomed(1)
    expect(written()).toEqual([
      [2, 0, ['b']],
      [3, 0, ['c']],
    ])
    for (const sequence of [1, 2, 3]) appends.answered(sequence, { answers: [stored(sequence)] })
    // An answer that comes twice, by the file and by the repeat, counts once.
    appends.answered(2, { answers: [stored(99)] })
    expect((await Promise.all(all)).flat()).toEqual([stored(1), stored(2), stored(3)])
  })

  it('beyond 16 MiB without an answer they wait, in order, until there is room', async () => {
    const all = Array.from({ length: 24 }, (_, n) => append(`s${n}`, mebibyte))
    expect(written()).toHaveLength(16)
    expect(appends.count).toBe(24)
    appends.answered(1, { answers: [stored(1)] })
    appends.answered(2, { answers: [stored(2)] })
    expect(written().map(([sequence]) => sequence)).toEqual([17, 18])
    for (let sequence = 3; sequence <= 24; sequence++) appends.answered(sequence, { answers: [stored(sequence)] })
    await Promise.all(all)
    expect(written().map(([, , [stream]]) => stream)).toEqual(['s18', 's19', 's20', 's21', 's22', 's23'])
  })

  it('an abort says whether the append may be stored, and keeps the numbers of the others', async () => {
    const aborted = (outcome: string): object => ({ code: 'BUZZER_ABORTED', details: { outcome } })
    await expect(append('a', 1, AbortSignal.abort())).rejects.toMatchObject(aborted('not-stored'))
    const stop = new AbortController()
    const sent = append('b', 1, stop.signal)
    const rest = Array.from({ length: 17 }, () => append('c', mebibyte))
    const waiting = append('d', 1, stop.signal)
    stop.abort()
    await expect(sent).rejects.toMatchObject(aborted('unknown'))
    await expect(waiting).rejects.toMatchObject(aborted('not-stored'))
    for (let sequence = 1; sequence <= 18; sequence++) appends.answered(sequence, { answers: [stored(sequence)] })
    await Promise.all(rest)
    expect(written().flatMap(([, , streams]) => streams)).not.toContain('d')
    expect(appends.count).toBe(0)
  })

  it('when no answer will come all are told, and a later connection finds their numbers without their records', async () => {
    const all = Array.from({ length: 20 }, (_, n) => append(`s${n}`, mebibyte))
    writer.take()
    appends.rejectAll(
      outcome => new BuzzerError('BUZZER_BROKER_FAILED', 'the engine stopped', { details: { outcome } }),
    )
    const told = await Promise.allSettled(all)
    const outcomes = told.map(one => (one as { reason: { details: { outcome: string } } }).reason.details.outcome)
    expect(outcomes.filter(outcome => outcome === 'unknown')).toHaveLength(16)
    expect(outcomes.slice(16)).toEqual(Array.from({ length: 4 }, () => 'not-stored'))
    appends.welcomed(4)
    expect(written()).toEqual(Array.from({ length: 12 }, (_, n) => [n + 5, 0, []]))
    expect(appends.count).toBe(0)
  })

  it('an append that fits no step is refused with both sizes and takes no number', async () => {
    await expect(append('a', 5 * mebibyte)).rejects.toMatchObject({
      code: 'BUZZER_MESSAGE_TOO_LARGE',
      details: { limitBytes: 4 * mebibyte },
    })
    void append('b').catch(() => {})
    expect(written()).toEqual([[1, 0, ['b']]])
  })
})
