import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Channel, type FullMode } from './index.ts'

/*
 * CH-76: random programs against a model of plain arrays. A program runs step by step; after each step all reactions
 * have run, and every operation begun so far must stand as the model says: pending, resolved to this, rejected by that.
 * Items are numbers; the last digit is an item's weight (weighed channels) and its priority (prioritized ones).
 */
type FullModes = FullMode | 'drop-last'
interface Kind {
  readonly capacity: number
  readonly fullMode: FullModes
  readonly weighed: boolean
  readonly prioritized: boolean
}

type Outcome = 'pending' | { readonly value: unknown } | { readonly error: unknown }

/** What errors are compared by: the identical object, or that it is ours and wraps it. */
const closedClean = 'BUZZER_CHANNEL_CLOSED'

interface Operation {
  readonly kind: 'read' | 'next' | 'batch' | 'waitToRead' | 'write' | 'waitToWrite'
  readonly item: number
  outcome: Outcome
  readonly batch: number[]
}

const batchMax = 3

class Model {
  buffer: number[] = []
  receivers: Operation[] = []
  writers: Operation[] = []
  readHints: Operation[] = []
  writeHints: Operation[] = []
  closed = false
  error: unknown = undefined
  written = 0
  taken = 0
  dropped: number[] = []
  readonly kind: Kind

  constructor(kind: Kind) {
    this.kind = kind
  }

  weight(item: number): number {
    return this.kind.weighed && this.kind.capacity > 0 ? item % 10 : 1
  }

  get used(): number {
    return this.buffer.reduce((sum, item) => sum + this.weight(item), 0)
  }

  fits(item: number): boolean {
    if (this.kind.capacity === 0) return false
    if (this.kind.weighed && this.buffer.length === 0) return true
    return this.used + this.weight(item) <= this.kind.capacity
  }

  get ended(): boolean {
    return this.closed && this.buffer.length === 0
  }

  get room(): boolean {
    if (this.kind.fullMode !== 'wait' || this.receivers.length > 0) return true
    return (
      this.writers.length === 0 &&
      this.kind.capacity > 0 &&
      (this.buffer.length === 0 || this.used < this.kind.capacity)
    )
  }

  insert(item: number): void {
    if (!this.kind.prioritized) this.buffer.push(item)
    else {
      const at = this.buffer.findIndex(each => each % 10 > item % 10)
      this.buffer.splice(at === -1 ? this.buffer.length : at, 0, item)
    }
  }

  /** Whether the channel has dealt with the item. */
  accept(item: number): boolean {
    const receiver = this.receivers[0]
    if (receiver !== undefined) {
      this.written++
      this.give(receiver, item)
      return true
    }
    if (this.writers.length === 0 && this.fits(item)) {
      this.written++
      this.insert(item)
      this.wake(this.readHints)
      return true
    }
    const { fullMode, capacity } = this.kind
    if (fullMode === 'wait') return false
    this.written++
    if (fullMode === 'drop-write' || capacity === 0) this.dropped.push(item)
    else if (fullMode === 'drop-last') {
      this.insert(item)
      this.dropped.push(this.buffer.pop() as number)
    } else {
      do this.dropped.push((fullMode === 'drop-oldest' ? this.buffer.shift() : this.buffer.pop()) as number)
      while (!this.fits(item))
      this.buffer.push(item)
    }
    return true
  }

  give(receiver: Operation, item: number): void {
    this.taken++
    if (receiver.kind === 'batch') {
      receiver.batch.push(item)
      if (receiver.batch.length < batchMax) return
    }
    this.receivers = this.receivers.filter(each => each !== receiver)
    receiver.outcome = { value: receiver.kind === 'batch' ? receiver.batch : item }
  }

  wake(hints: Operation[]): void {
    for (const hint of hints.splice(0)) hint.outcome = { value: true }
  }

  take(): number | undefined {
    const item = this.buffer.shift()
    if (item === undefined) {
      const writer = this.writers.shift()
      if (writer === undefined) return undefined
      writer.outcome = { value: undefined }
      this.written++
      this.taken++
      if (this.room) this.wake(this.writeHints)
      return writer.item
    }
    this.taken++
    this.admit()
    return item
  }

  admit(): void {
    for (let writer = this.writers[0]; writer !== undefined && this.fits(writer.item); writer = this.writers[0]) {
      this.writers.shift()
      writer.outcome = { value: undefined }
      this.written++
      this.insert(writer.item)
    }
    if (this.room) this.wake(this.writeHints)
  }

  /** Raw: as `completion` rejects; wrapped: as `read` and `write` do. */
  endOf(raw: boolean, clean: Outcome): Outcome {
    if (this.error === undefined) return clean
    return { error: raw ? this.error : { code: closedClean, cause: this.error } }
  }

  tell(operation: Operation): void {
    if (operation.kind === 'batch' && operation.batch.length > 0) operation.outcome = { value: operation.batch }
    else if (operation.kind === 'next' || operation.kind === 'batch') {
      operation.outcome = this.endOf(true, { value: 'done' })
    } else if (operation.kind === 'waitToRead' || operation.kind === 'waitToWrite') {
      operation.outcome = this.endOf(true, { value: false })
    } else operation.outcome = this.endOf(false, { error: { code: closedClean } })
  }

  close(error: unknown): boolean {
    if (this.closed) return false
    this.closed = true
    this.error = error
    for (const each of [...this.writers.splice(0), ...this.writeHints.splice(0)]) this.tell(each)
    this.afterTaking()
    return true
  }

  afterTaking(): void {
    if (this.ended) for (const each of [...this.receivers.splice(0), ...this.readHints.splice(0)]) this.tell(each)
  }

  begin(operation: Operation): void {
    switch (operation.kind) {
      case 'write':
        if (this.closed) this.tell(operation)
        else if (this.accept(operation.item)) operation.outcome = { value: undefined }
        else {
          this.writers.push(operation)
          if (this.kind.capacity === 0) this.wake(this.readHints)
        }
        break
      case 'waitToWrite':
        if (this.closed) this.tell(operation)
        else if (this.room) operation.outcome = { value: true }
        else this.writeHints.push(operation)
        break
      case 'waitToRead':
        if (this.buffer.length > 0 || this.writers.length > 0) operation.outcome = { value: true }
        else if (this.ended) this.tell(operation)
        else this.readHints.push(operation)
        break
      case 'read':
      case 'next':
      case 'batch': {
        while (this.receivers.length === 0 && operation.outcome === 'pending') {
          const item = this.take()
          if (item === undefined) break
          this.taken--
          this.give(operation, item)
        }
        if (operation.outcome === 'pending') this.receivers.push(operation)
        this.afterTaking()
        if (operation.outcome === 'pending' && this.room) this.wake(this.writeHints)
        break
      }
      default:
        operation.kind satisfies never
    }
  }

  cancel(operation: Operation, reason: unknown): void {
    if (operation.outcome !== 'pending') return
    for (const line of [this.receivers, this.writers, this.readHints, this.writeHints]) {
      const at = line.indexOf(operation)
      if (at !== -1) line.splice(at, 1)
    }
    operation.outcome = operation.batch.length > 0 ? { value: operation.batch } : { error: reason }
    if (operation.kind === 'write' && !this.closed) this.admit()
  }
}

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('tryWrite' as const), digit: fc.nat(9) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('write' as const), digit: fc.nat(9) }) },
  { weight: 5, arbitrary: fc.constant({ do: 'tryRead' as const }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('read' as const), patient: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('next' as const), patient: fc.boolean() }) },
  { weight: 2, arbitrary: fc.constant({ do: 'batch' as const }) },
  { weight: 2, arbitrary: fc.constant({ do: 'waitToRead' as const }) },
  { weight: 2, arbitrary: fc.constant({ do: 'waitToWrite' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'tryPeek' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'takeAvailable' as const }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('cancel' as const), which: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('complete' as const), fails: fc.boolean() }) },
  { weight: 1, arbitrary: fc.constant({ do: 'abort' as const }) },
)
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never

const anyKind: fc.Arbitrary<Kind> = fc.oneof(
  fc.record({
    capacity: fc.nat(3),
    fullMode: fc.constantFrom<FullModes[]>('wait', 'drop-newest', 'drop-oldest', 'drop-write'),
    weighed: fc.constant(false),
    prioritized: fc.constant(false),
  }),
  fc.record({
    capacity: fc.integer({ min: 1, max: 12 }),
    fullMode: fc.constantFrom<FullModes[]>('wait', 'drop-newest', 'drop-oldest', 'drop-write'),
    weighed: fc.constant(true),
    prioritized: fc.constant(false),
  }),
  fc.record({
    capacity: fc.constantFrom(0, 1, 3, Infinity),
    fullMode: fc.constantFrom<FullModes[]>('wait', 'drop-last'),
    weighed: fc.constant(false),
    prioritized: fc.constant(true),
  }),
  fc.constant<Kind>({ capacity: Infinity, fullMode: 'wait', weighed: false, prioritized: false }),
)

function create(kind: Kind, onDrop: (item: number) => void): Channel<number> {
  const { capacity, fullMode } = kind
  if (kind.prioritized) {
    return Channel.prioritized({
      compare: (a, b) => (a % 10) - (b % 10),
      ...(capacity === Infinity ? {} : { capacity }),
      fullMode: fullMode as 'wait',
      onDrop,
    })
  }
  if (capacity === Infinity) return Channel.unbounded()
  return Channel.bounded({
    capacity,
    fullMode: fullMode as FullMode,
    onDrop,
    ...(kind.weighed ? { weigh: (item: number) => item % 10 } : {}),
  })
}

interface Running {
  readonly model: Operation
  /** A patient caller gave no signal. */
  readonly controller: AbortController | undefined
  actual: Outcome
}

async function run(kind: Kind, steps: readonly Step[]): Promise<void> {
  const dropped: number[] = []
  const channel = create(kind, item => dropped.push(item))
  const { reader, writer } = channel
  const model = new Model(kind)
  const operations: Running[] = []
  let completion: Outcome = 'pending'
  reader.completion.then(
    () => (completion = { value: undefined }),
    (error: unknown) => (completion = { error }),
  )
  let written = 0

  const begin = (operationKind: Operation['kind'], item: number, patient = false): void => {
    const controller = patient ? undefined : new AbortController()
    const options = { signal: controller?.signal }
    const calls: Record<Operation['kind'], () => Promise<unknown>> = {
      read: () => reader.read(options),
      next: () =>
        reader
          .readAll(options)
          .next()
          .then(({ done, value }) => (done ? 'done' : value)),
      batch: () =>
        reader
          .batches({ max: batchMax, maxWaitMs: Infinity, ...options })
          .next()
          .then(({ done, value }) => (done ? 'done' : (value as unknown))),
      waitToRead: () => reader.waitToRead(options),
      waitToWrite: () => writer.waitToWrite(options),
      write: () => writer.write(item, options),
    }
    const running: Running = {
      model: { kind: operationKind, item, outcome: 'pending', batch: [] },
      controller,
      actual: 'pending',
    }
    operations.push(running)
    calls[operationKind]().then(
      value => (running.actual = { value }),
      (error: unknown) => (running.actual = { error }),
    )
    model.begin(running.model)
  }

  for (const each of steps) {
    switch (each.do) {
      case 'tryWrite': {
        const item = ++written * 10 + each.digit
        expect(writer.tryWrite(item)).toBe(!model.closed && model.accept(item))
        break
      }
      case 'write':
        begin('write', ++written * 10 + each.digit)
        break
      case 'tryRead':
        expect(reader.tryRead()).toBe(model.take() ?? Channel.empty)
        model.afterTaking()
        break
      case 'tryPeek':
        expect(reader.tryPeek()).toBe(model.buffer[0] ?? model.writers[0]?.item ?? Channel.empty)
        break
      case 'takeAvailable': {
        const items: number[] = []
        for (let item = model.take(); item !== undefined; item = model.take()) items.push(item)
        model.afterTaking()
        expect(reader.takeAvailable()).toEqual(items)
        break
      }
      case 'cancel': {
        const running = operations[each.which]
        const reason = { cancelled: each.which }
        running?.controller?.abort(reason)
        if (running?.controller !== undefined) model.cancel(running.model, reason)
        break
      }
      case 'complete': {
        const error = each.fails ? { failed: true } : undefined
        expect(writer.tryComplete(error)).toBe(model.close(error))
        break
      }
      case 'abort': {
        const reason = { aborted: true }
        const items = model.buffer.splice(0)
        model.dropped.push(...items)
        const wasClosed = model.closed
        model.close(reason)
        if (wasClosed) model.afterTaking()
        expect(writer.abort(reason)).toEqual(items)
        dropped.push(...items)
        break
      }
      case 'read':
      case 'next':
        begin(each.do, 0, each.patient)
        break
      case 'batch':
      case 'waitToRead':
      case 'waitToWrite':
        begin(each.do, 0)
        break
      default:
        each satisfies never
    }
    for (let tick = 0; tick < 6; tick++) await Promise.resolve()
    for (const { actual, model: expected } of operations) {
      if (actual === 'pending' || expected.outcome === 'pending') expect(actual).toBe(expected.outcome)
      else if ('error' in actual && 'error' in expected.outcome)
        expect(actual.error).toMatchObject(expected.outcome.error as object)
      else expect(actual).toEqual(expected.outcome)
    }
    expect(dropped).toEqual(model.dropped)
    expect(channel.stats()).toMatchObject({
      count: model.buffer.length,
      weight: model.used,
      written: model.written,
      taken: model.taken,
      dropped: model.dropped.length,
      pendingReads: model.receivers.length,
      pendingWrites: model.writers.length,
      waitingToRead: model.readHints.length,
      waitingToWrite: model.writeHints.length,
    })
    expect(completion).toEqual(model.ended ? model.endOf(true, { value: undefined }) : 'pending')
    // The invariants of spec channels 2.1, on the channel's own numbers.
    const { count, pendingReads, pendingWrites, waitingToRead, waitingToWrite } = channel.stats()
    if (count > 0) expect([pendingReads, waitingToRead]).toEqual([0, 0])
    if (pendingReads > 0) expect(pendingWrites).toBe(0)
    if (model.room && pendingWrites === 0 && !model.closed) expect(waitingToWrite).toBe(0)
  }
}

describe('CH-76 random programs against a plain-array model', () => {
  it.each([1, 2, 3, 4])(
    'same outcomes and invariants after each step, 3,000 programs, part %i of 4',
    async () => {
      await fc.assert(fc.asyncProperty(anyKind, fc.array(step, { minLength: 5, maxLength: 30 }), run), {
        numRuns: 3_000,
      })
    },
    120_000,
  )
})
