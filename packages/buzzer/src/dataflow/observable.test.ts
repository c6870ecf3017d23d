import { describe, expect, test } from 'vitest'
import { asObservable, asObserver, BufferBlock } from './index.ts'

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))
const numbers = (count: number): number[] => Array.from({ length: count }, (_, item) => item)

describe('DF-65 asObservable', () => {
  test('one hub per source; without observers nothing is taken; observers come and go, order kept', async () => {
    const source = new BufferBlock<number>({ capacity: 3 })
    const observable = asObservable(source)
    expect(asObservable(source)).toBe(observable)
    expect(observable['@@observable']()).toBe(observable)
    for (const item of numbers(3)) source.post(item)
    await turn()
    expect(source.outputCount).toBe(3)
    const one: number[] = []
    const two: number[] = []
    const first = observable.subscribe({ next: item => void one.push(item) })
    await turn()
    expect(one).toEqual([0, 1, 2])
    observable.subscribe({ next: item => void two.push(item), complete: () => two.push(-1) })
    for (const item of [3, 4]) source.post(item)
    await turn()
    first.unsubscribe()
    source.post(5)
    await turn()
    void source.complete()
    await turn()
    expect(one).toEqual([0, 1, 2, 3, 4])
    expect(two).toEqual([3, 4, 5, -1])
  })

  test('the next item is taken only when all promises the observers returned have settled', async () => {
    const source = new BufferBlock<number>()
    const gate = Promise.withResolvers<void>()
    const seen: number[] = []
    asObservable(source).subscribe({
      next: item => {
        seen.push(item)
        return gate.promise
      },
    })
    for (const item of numbers(3)) source.post(item)
    await turn()
    expect([seen.length, source.outputCount]).toEqual([1, 2])
    gate.resolve()
    await turn()
    expect(seen).toEqual([0, 1, 2])
  })

  test('when the last observer goes the flow stops', async () => {
    const source = new BufferBlock<number>()
    const subscription = asObservable(source).subscribe({})
    await turn()
    subscription.unsubscribe()
    source.post(1)
    await turn()
    expect(source.outputCount).toBe(1)
  })

  test('a source that fails, before or after, tells all observers present; an observer that throws fails the source', async () => {
    const error = new Error('broken')
    const source = new BufferBlock<number>()
    const told: unknown[] = []
    const observer = { error: (each: unknown) => void told.push(each) }
    asObservable(source).subscribe(observer)
    asObservable(source).subscribe(observer)
    await turn()
    source.fault(error)
    await turn()
    expect(told).toEqual([error, error])
    asObservable(source).subscribe(observer)
    await turn()
    expect(told).toHaveLength(3)
    const other = new BufferBlock<number>()
    asObservable(other).subscribe({
      next: () => {
        throw error
      },
    })
    other.post(1)
    await expect(other.completion).rejects.toBe(error)
  })
})

test('DF-65 asObserver: next waits as send does, error faults, complete completes', async () => {
  const target = new BufferBlock<number>({ capacity: 1 })
  const observer = asObserver(target)
  await observer.next(1)
  const waiting = observer.next(2) as Promise<void>
  expect(target.tryReceive()).toBe(1)
  await waiting
  observer.complete()
  expect(await Array.fromAsync(target)).toEqual([2])
  const failed = new BufferBlock<number>()
  const error = new Error('broken')
  asObserver(failed).error(error)
  await expect(failed.completion).rejects.toBe(error)
})

test('RxJS-like chains: an observable of one block feeds an observer of another', async () => {
  const source = new BufferBlock<number>()
  const target = new BufferBlock<number>({ capacity: 1 })
  asObservable(source).subscribe(asObserver(target))
  for (const item of numbers(5)) source.post(item)
  void source.complete()
  expect(await Array.fromAsync(target)).toEqual(numbers(5))
})
