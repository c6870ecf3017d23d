import { describe, expect, it } from 'vitest'
import { dueTurns, mustNotRun, type OperationTurn, takeTurn } from './operation-life.ts'
import { dueAtMs, eventsAfter, maxEvents, type OperationRecord, putRecord } from './operation-record.ts'
import { readProgress } from './progress.ts'

const start = Date.UTC(2026, 10, 23, 12)
const day = 86_400_000

function accepted(more: Partial<OperationRecord> = {}, expiresAfterMs?: number): OperationRecord {
  return {
    operation: {
      id: 'op',
      command: 'orders.submit',
      status: 'accepted',
      done: false,
      version: 1,
      attempt: 0,
      createdAt: new Date(start).toISOString(),
      ...(expiresAfterMs === undefined ? {} : { expiresAt: new Date(start + expiresAfterMs).toISOString() }),
    },
    history: [],
    lastType: 'status',
    completion: { as: 'handler' },
    settings: {
      succeededMs: 7 * day,
      failedMs: 30 * day,
      tombstoneMs: 30 * day,
      progressIntervalMs: 250,
      maxResultBytes: 65_536,
    },
    attemptsBefore: 0,
    redrives: 0,
    ...more,
  }
}

function live(record: OperationRecord, ...turns: OperationTurn[]): OperationRecord {
  return turns.reduce((now, turn, index) => takeTurn(now, turn, start + index + 1), record)
}

const run = (attempt: number): OperationTurn => ({ as: 'start', attempt, redrives: 0 })

describe('the life of an operation', () => {
  it('goes from accepted over running to succeeded, one version each', () => {
    const done = live(accepted(), run(1), { as: 'handled', result: { result: { total: 3 } } })
    expect(done.operation).toMatchObject({
      status: 'succeeded',
      done: true,
      version: 3,
      attempt: 1,
      result: { total: 3 },
      startedAt: new Date(start + 1).toISOString(),
      finishedAt: new Date(start + 2).toISOString(),
    })
  })

  it('OP-4 immediate retries count attempts and stay running', () => {
    expect(live(accepted(), run(1), run(2), run(3)).operation).toMatchObject({
      status: 'running',
      attempt: 3,
      version: 4,
    })
  })

  it('OP-5 a delayed retry shows retrying and knows when it is due, until the next start', () => {
    const waiting = live(accepted(), run(1), { as: 'retry-later', attempt: 1, delayMs: 10_000 })
    expect(waiting.operation.status).toBe('retrying')
    expect(waiting.retryAtMs).toBe(start + 2 + 10_000)
    expect(takeTurn(waiting, run(2), start + 20_000).retryAtMs).toBeUndefined()
  })

  it('a failure keeps attempts and says nothing of the error it was not given', () => {
    const failed = live(accepted(), run(1), { as: 'fail' })
    expect(failed.operation.error).toEqual({
      type: '/problems/operation-failed',
      title: 'The operation failed',
      code: 'BUZZER_OPERATION_FAILED',
      attempts: 1,
    })
    expect(
      live(accepted(), run(1), { as: 'fail', problem: { detail: 'no such customer' } }).operation.error,
    ).toMatchObject({
      detail: 'no such customer',
    })
  })

  it('OP-8 a redrive opens a failed operation once, drops error and end, and attempts go on', () => {
    const failed = live(accepted(), run(1), run(2), { as: 'fail' })
    const open = live(failed, { as: 'redriven', redrives: 1 })
    expect(open.operation).toMatchObject({ status: 'accepted', done: false, version: 5, attempt: 2 })
    expect(open.operation).not.toHaveProperty('error')
    expect(open.operation).not.toHaveProperty('finishedAt')
    expect(live(open, { as: 'redriven', redrives: 1 })).toBe(open)
    const again = live(open, { as: 'start', attempt: 1, redrives: 1 }, { as: 'handled', result: {} })
    expect(again.operation).toMatchObject({ status: 'succeeded', attempt: 3, version: 7 })
  })

  it('OP-9 nothing else leaves a terminal state', () => {
    const ends: OperationTurn[][] = [
      [run(1), { as: 'handled', result: {} }],
      [run(1), { as: 'cancel' }, { as: 'cancelled' }],
      [{ as: 'cancel' }],
    ]
    const late: OperationTurn[] = [
      run(2),
      { as: 'retry-later', attempt: 1, delayMs: 1 },
      { as: 'handled', result: { result: 1 } },
      { as: 'succeed', result: { result: 1 } },
      { as: 'fail' },
      { as: 'cancel' },
      { as: 'cancelled' },
      { as: 'expire' },
      { as: 'time-out' },
      { as: 'redriven', redrives: 9 },
      { as: 'progress', progress: readProgress(5, start) },
    ]
    for (const turns of ends) {
      const done = live(accepted(), ...turns)
      expect(done.operation.done).toBe(true)
      for (const turn of late) expect(takeTurn(done, turn, start + day), turn.as).toBe(done)
    }
  })

  it('OP-10 OP-11 expiry ends what waits and leaves alone what runs', () => {
    const waiting = accepted({}, 1_000)
    expect(dueTurns(waiting, start + 999)).toEqual([])
    expect(dueTurns(waiting, start + 1_000)).toEqual([{ as: 'expire' }])
    expect(takeTurn(waiting, { as: 'expire' }, start + 1_000).operation).toMatchObject({
      status: 'expired',
      done: true,
    })
    const running = takeTurn(waiting, run(1), start + 1)
    expect(dueTurns(running, start + 2_000)).toEqual([])
    expect(takeTurn(running, { as: 'expire' }, start + 2_000)).toBe(running)
    const late = takeTurn(running, { as: 'retry-later', attempt: 1, delayMs: 5 }, start + 2_000)
    expect(late.operation.status).toBe('expired')
  })

  it('OP-12 a deadline fails what is not done, with a problem of its own', () => {
    const record = accepted({ deadlineMs: start + 500, completion: { as: 'event', on: ['shipped'], failOn: [] } })
    expect(dueTurns(record, start + 499)).toEqual([])
    expect(dueTurns(record, start + 500)).toEqual([{ as: 'time-out' }])
    const failed = takeTurn(live(record, run(1)), { as: 'time-out' }, start + 500)
    expect(failed.operation).toMatchObject({
      status: 'failed',
      error: { type: '/problems/operation-timed-out', code: 'BUZZER_OPERATION_TIMED_OUT' },
    })
  })

  it('handler success leaves an operation running that something else completes', () => {
    const record = accepted({ completion: { as: 'manual' } })
    const handled = live(record, run(1), { as: 'handled', result: { result: 1 } })
    expect(handled.operation).toMatchObject({ status: 'running', version: 2 })
    expect(live(handled, { as: 'succeed', result: { result: 2 } }).operation).toMatchObject({
      status: 'succeeded',
      result: 2,
    })
  })

  it('cancel ends what waits at once, asks what runs, and asks once', () => {
    expect(live(accepted(), { as: 'cancel' }).operation).toMatchObject({ status: 'cancelled', done: true })
    expect(live(accepted(), { as: 'cancel' }).operation).not.toHaveProperty('startedAt')
    const asked = live(accepted(), run(1), { as: 'cancel' })
    expect(asked.operation).toMatchObject({ status: 'running', cancelRequested: true, version: 3 })
    expect(live(asked, { as: 'cancel' })).toBe(asked)
    expect(live(asked, { as: 'handled', result: {} }).operation).toMatchObject({
      status: 'succeeded',
      cancelRequested: true,
    })
    expect(live(asked, { as: 'retry-later', attempt: 1, delayMs: 5 }).operation.status).toBe('cancelled')
    expect(live(asked, run(2)).operation).toMatchObject({ status: 'cancelled', attempt: 1 })
  })

  it('says which states must not run', () => {
    const done = live(accepted(), run(1), { as: 'handled', result: {} })
    const failed = live(accepted(), run(1), { as: 'fail' })
    expect([accepted(), done, failed, live(accepted(), { as: 'cancel' })].map(mustNotRun)).toEqual([
      false,
      true,
      false,
      true,
    ])
  })
})

describe('events of an operation', () => {
  it('replay the operation as it was at each version, without the result before the end', () => {
    const done = live(
      accepted(),
      run(1),
      { as: 'progress', progress: readProgress(50, start) },
      { as: 'handled', result: { result: 'ok' } },
    )
    expect(
      eventsAfter(done, 0).map(e => [e.version, e.type, e.operation.status, e.operation.progress?.percent]),
    ).toEqual([
      [1, 'status', 'accepted', undefined],
      [2, 'status', 'running', undefined],
      [3, 'progress', 'running', 50],
      [4, 'done', 'succeeded', 50],
    ])
    expect(eventsAfter(done, 2).map(e => e.version)).toEqual([3, 4])
    expect(eventsAfter(done, 4)).toEqual([])
    expect(eventsAfter(done, 0).map(e => 'result' in e.operation)).toEqual([false, false, false, true])
  })

  it(`keep at most ${maxEvents}: the oldest progress goes first, a status never`, () => {
    let record = live(accepted(), run(1))
    for (let i = 1; i <= 400; i++) {
      record = takeTurn(record, { as: 'progress', progress: readProgress(i / 4, start) }, start + i)
    }
    const events = eventsAfter(record, 0)
    expect(events).toHaveLength(maxEvents)
    expect(events.slice(0, 3).map(e => [e.version, e.type])).toEqual([
      [1, 'status'],
      [2, 'status'],
      [149, 'progress'],
    ])
    expect(events.at(-1)?.version).toBe(402)
  })
})

describe('the record of an operation', () => {
  it('is due at its expiry or deadline, then when its retention ends, and expires with its tombstone', () => {
    expect(dueAtMs(accepted())).toBeUndefined()
    expect(dueAtMs(accepted({ deadlineMs: start + 9 }, 5))).toBe(start + 5)
    const failed = takeTurn(accepted(), { as: 'fail' }, start)
    expect(dueAtMs(failed)).toBe(start + 30 * day)
    expect(putRecord(failed, 1)).toMatchObject({ expected: 1, expiresAt: start + 60 * day })
    expect(putRecord(accepted(), 'absent')).not.toHaveProperty('expiresAt')
  })
})
