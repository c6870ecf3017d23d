import { afterEach, expect, test, vi } from 'vitest'
import { Channel } from '../channels/index.ts'
import { BroadcastBlock, BufferBlock, choose } from './index.ts'

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

afterEach(() => vi.useRealTimers())

test('DF-62 both ready: the first listed, the other keeps its item; all ended: rejects', async () => {
  const [a, b] = [new BufferBlock<number>(), new BufferBlock<string>()]
  a.post(1)
  b.post('x')
  expect(await choose({ a, b })).toEqual({ key: 'a', value: 1 })
  expect(b.outputCount).toBe(1)
  expect(await choose({ a, b })).toEqual({ key: 'b', value: 'x' })
  const waiting = choose({ a, b })
  await turn()
  b.post('y')
  expect(await waiting).toEqual({ key: 'b', value: 'y' })
  await a.complete()
  const last = choose({ a, b })
  await turn()
  b.post('z')
  expect(await last).toEqual({ key: 'b', value: 'z' })
  const never = choose({ a, b })
  await turn()
  const error = new Error('broken')
  b.fault(error)
  await expect(never).rejects.toMatchObject({ code: 'BUZZER_BLOCK_CLOSED', cause: error })
  await expect(choose({ a })).rejects.toMatchObject({ code: 'BUZZER_BLOCK_CLOSED' })
})

test('DF-63 aborted before or while choosing: no waiter is left and nothing is taken', async () => {
  const [a, b] = [new BufferBlock<number>(), new BroadcastBlock<number>()]
  const reason = new Error('enough')
  await expect(choose({ a, b }, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  const controller = new AbortController()
  const remove = vi.spyOn(controller.signal, 'removeEventListener')
  const choosing = choose({ a, b }, { signal: controller.signal })
  await turn()
  controller.abort(reason)
  await expect(choosing).rejects.toBe(reason)
  expect(remove).toHaveBeenCalled()
  a.post(1)
  b.post(2)
  await turn()
  expect(a.outputCount).toBe(1)
  expect(b.tryReceive()).toBe(2)
})

test('timeoutMs resolves to Channel.empty, and 0 never waits', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  const a = new BufferBlock<number>()
  expect(await choose({ a }, { timeoutMs: 0 })).toBe(Channel.empty)
  const choosing = choose({ a }, { timeoutMs: 100 })
  await vi.advanceTimersByTimeAsync(100)
  expect(await choosing).toBe(Channel.empty)
  const taking = choose({ a }, { timeoutMs: 100 })
  a.post(1)
  expect(await taking).toEqual({ key: 'a', value: 1 })
  expect(vi.getTimerCount()).toBe(0)
  await expect(choose({ a }, { timeoutMs: -1 })).rejects.toThrow(RangeError)
})

test('what is no block of this room is a TypeError', async () => {
  await expect(choose({ a: {} as BufferBlock<number> })).rejects.toThrow(TypeError)
})
