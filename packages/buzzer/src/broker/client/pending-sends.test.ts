import { beforeEach, describe, expect, it } from 'vitest'
import type { OutgoingMessage } from '../../transport/index.ts'
import {
  ByteWriter,
  type ClientFrameSink,
  nextMessage,
  readClientFrame,
  readState,
  recordId,
} from '../protocol/index.ts'
import { PendingSends } from './pending-sends.ts'

let writer: ByteWriter
let sends: PendingSends

beforeEach(() => {
  writer = new ByteWriter()
  sends = make(1_000_000)
})

function make(maxPendingBytes: number): PendingSends {
  return new PendingSends({
    writer,
    maxMessageBytes: 10_000,
    maxPendingBytes,
    maxStepBytes: 50_000,
    onWritten: () => {},
  })
}

function message(id: string, bytes = 10): OutgoingMessage {
  const body = new Uint8Array(bytes)
  return { id, to: { queue: 'q' }, attributes: {}, headers: {}, body, priority: 4, mandatory: true }
}

function nothing(): void {}

function aborted(outcome: string): object {
  return { code: 'BUZZER_ABORTED', details: { outcome } }
}

/** Hands over what is written, as the session does, and says what the engine would read. */
function flush(): [sequence: number, ids: string[], changes: number][] {
  const frame = writer.take()
  sends.left(Buffer.from(frame.buffer))
  const read: [number, string[], number][] = []
  const place = { destinationStart: 0, destinationEnd: 0, recordStart: 0, recordEnd: 0 }
  const sink: ClientFrameSink = {
    hello: nothing,
    settle: nothing,
    append: nothing,
    ack: nothing,
    request: nothing,
    beat: nothing,
    forfeit: nothing,
    bye: nothing,
    send(sequence, count, reader) {
      const ids = Array.from({ length: count }, () => {
        nextMessage(reader, place)
        return recordId(reader.bytes, place.recordStart)
      })
      read.push([sequence, ids, readState(reader).length])
    },
  }
  readClientFrame(frame.slice(), sink)
  return read
}

const send = (id: string, signal?: AbortSignal): Promise<void> => sends.send([message(id)], undefined, signal)

describe('pending sends', () => {
  it('are numbered in the order of the calls and resolve when they are committed', async () => {
    const done: string[] = []
    const all = ['a', 'b', 'c'].map(async id => {
      await send(id)
      done.push(id)
    })
    expect(flush()).toEqual([
      [1, ['a'], 0],
      [2, ['b'], 0],
      [3, ['c'], 0],
    ])
    sends.committed(2)
    await Promise.all(all.slice(0, 2))
    expect(done).toEqual(['a', 'b'])
    expect(sends.count).toBe(1)
    sends.committed(3)
    await Promise.all(all)
    expect(sends.answeredThrough).toBe(3)
  })

  it('of a refused number reject, and their neighbours do not', async () => {
    const [a, b, c] = [send('a'), send('b'), send('c')]
    flush()
    sends.refused(2, { code: 'BUZZER_QUEUE_FULL', message: 'full', retryable: true, details: { queue: 'q' } })
    sends.committed(3)
    await Promise.all([a, c])
    await expect(b).rejects.toMatchObject({ code: 'BUZZER_QUEUE_FULL', details: { queue: 'q' } })
    expect(sends.takeRefusals()).toBe(true)
    expect(sends.takeRefusals()).toBe(false)
  })

  it('are repeated in order, and only those that the engine does not have', async () => {
    const first = [send('a'), send('b')]
    flush()
    const rest = [send('c'), send('d')]
    sends.setAside()
    const late = send('e')
    sends.setAside()
    sends.welcomed(1, [], () => {})
    await first[0]
    expect(flush()).toEqual([
      [2, ['b'], 0],
      [3, ['c'], 0],
      [4, ['d'], 0],
      [5, ['e'], 0],
    ])
    // Lost again before any answer: the same once more.
    sends.setAside()
    sends.welcomed(
      3,
      [{ sequence: 3, error: { code: 'BUZZER_UNROUTABLE', message: '', retryable: false, details: {} } }],
      () => {},
    )
    expect(flush().map(([sequence]) => sequence)).toEqual([4, 5])
    await expect(rest[0]).rejects.toMatchObject({ code: 'BUZZER_UNROUTABLE' })
    sends.committed(5)
    await Promise.all([first[1], rest[1], late])
    expect(sends.count).toBe(0)
  })

  it('B10 beyond maxPendingBytes wait, in order, and all resolve', async () => {
    sends = make(2_000)
    const done: number[] = []
    const all = Array.from({ length: 20 }, async (_, index) => {
      await sends.send([message(`m${index}`, 500)], undefined, undefined)
      done.push(index)
    })
    let sequence = 0
    let rounds = 0
    while (done.length < 20) {
      const frame = flush()
      rounds++
      expect(frame.length).toBeLessThanOrEqual(4)
      sequence += frame.length
      sends.committed(sequence)
      await new Promise(resolve => setImmediate(resolve))
    }
    await Promise.all(all)
    expect(done).toEqual(Array.from({ length: 20 }, (_, index) => index))
    expect(rounds).toBeGreaterThanOrEqual(5)
  })

  it('B7 aborted before, during and after the wire → not-stored, not-stored, unknown', async () => {
    await expect(send('a', AbortSignal.abort())).rejects.toMatchObject(aborted('not-stored'))
    const controller = new AbortController()
    const [before, during, after] = [send('b'), send('c', controller.signal), send('d')]
    controller.abort()
    await expect(during).rejects.toMatchObject(aborted('not-stored'))
    // It keeps its number, and there is nothing in it.
    expect(flush()).toEqual([
      [1, ['b'], 0],
      [2, [], 0],
      [3, ['d'], 0],
    ])
    const late = new AbortController()
    const unknown = send('e', late.signal)
    flush()
    late.abort()
    await expect(unknown).rejects.toMatchObject(aborted('unknown'))
    sends.committed(4)
    await Promise.all([before, after])
    expect(sends.count).toBe(0)
  })

  it('B7 aborted while it waits for room is never written', async () => {
    sends = make(100)
    const controller = new AbortController()
    const first = sends.send([message('a', 500)], undefined, undefined)
    const waiting = send('b', controller.signal)
    const third = send('c')
    controller.abort()
    await expect(waiting).rejects.toMatchObject({ details: { outcome: 'not-stored' } })
    expect(flush()).toEqual([[1, ['a'], 0]])
    sends.committed(1)
    await first
    expect(flush()).toEqual([[2, ['c'], 0]])
    sends.committed(2)
    await third
  })

  it('when the engine fails are rejected, those that had left as unknown, and leave no gap', async () => {
    const left = send('a')
    flush()
    const written = send('b')
    sends.setAside()
    sends.rejectAll(outcome => Object.assign(new Error(outcome), { code: 'BUZZER_BROKER_FAILED' }) as never)
    await expect(left).rejects.toThrow('unknown')
    await expect(written).rejects.toThrow('not-stored')
    sends.welcomed(0, [], () => {})
    expect(flush()).toEqual([
      [1, [], 0],
      [2, [], 0],
    ])
  })

  it('too large are refused alone, with both sizes, and leave no trace', async () => {
    const good = send('a')
    const large = sends.send([message('b', 20_000)], undefined, undefined)
    await expect(large).rejects.toMatchObject({
      code: 'BUZZER_MESSAGE_TOO_LARGE',
      details: { actualBytes: 20_000, limitBytes: 10_000 },
    })
    const array = sends.send(
      Array.from({ length: 10 }, (_, index) => message(`m${index}`, 9_000)),
      undefined,
      undefined,
    )
    await expect(array).rejects.toMatchObject({ code: 'BUZZER_MESSAGE_TOO_LARGE', details: { limitBytes: 50_000 } })
    expect(flush()).toEqual([[1, ['a'], 0]])
    sends.committed(1)
    await good
  })
})
