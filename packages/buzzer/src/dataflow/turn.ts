import { AsyncResource } from 'node:async_hooks'

// Kept from load time, so that mocked timers do not stop a block.
const nextTurn = setImmediate
const now = performance.now.bind(performance)

/** A block may handle so many items, */
const itemsPerTurn = 1_024
/** and all blocks together may work for so long, before the event loop gets its turn (spec dataflow 2.1). */
const msPerTurn = 10
/** The clock is looked at every so many items at most: a look costs as much as handling an item. */
const longestStride = 64

/*
 * All blocks of a thread share one queue of work, drained in microtasks:
 *
 *   schedule ──▶ queue ──(microtask)──▶ run ──budget used──▶ held ──(setImmediate)──▶ queue
 *
 * One setImmediate is armed in every turn in which a block works. It says when the turn is over, so items and time are
 * counted from its true beginning.
 */
let queue: Task[] = []
let held: Task[] = []
let postponed: Task[] = []
let turn = 0
let armed = false
let draining = false
let drainComing = false
let timeIsUp = false
let startedAt = 0
let lookedAt = 0
let stride = 1
let untilLook = 1

// `queueMicrotask` makes an async resource for every call: the reaction to a promise costs a fifth of it.
const settled: Promise<void> = Promise.resolve()

function begin(): void {
  armed = true
  startedAt = now()
  lookedAt = startedAt
  nextTurn(end)
}

function end(): void {
  armed = false
  timeIsUp = false
  turn++
  told = 0
  if (held.length > 0) {
    queue = queue.length === 0 ? held : [...queue, ...held]
    held = []
  }
  tellWaiting()
  if (postponed.length > 0) {
    const due = postponed
    postponed = []
    draining = true
    for (const task of due) task.due()
    draining = false
  }
  if (queue.length > 0) {
    if (!armed) begin()
    drain()
  }
}

function drain(): void {
  draining = true
  let index = 0
  try {
    while (index < queue.length && !timeSpent()) (queue[index++] as Task).step()
  } finally {
    queue = index === queue.length ? [] : queue.slice(index)
    draining = false
    // Only after a fault of ours: one block must not stop the others.
    if (queue.length > 0) drainSoon()
  }
}

function timeSpent(): boolean {
  return timeIsUp
}

function drainSoon(): void {
  if (drainComing || timeIsUp) return
  drainComing = true
  void settled.then(drainInMicrotask)
}

function drainInMicrotask(): void {
  drainComing = false
  if (queue.length > 0 && !timeIsUp) drain()
}

function look(): void {
  const at = now()
  const tookMs = at - lookedAt
  lookedAt = at
  stride = tookMs > 1 ? 1 : Math.min(stride * 2, longestStride)
  untilLook = stride
  if (at - startedAt >= msPerTurn) timeIsUp = true
}

let sharedContext: AsyncResource | undefined

/** Makes blocks that work in one context, that of their pipeline: so they may run as one loop. */
export function inSharedContext<R>(context: AsyncResource, make: () => R): R {
  sharedContext = context
  try {
    return make()
  } finally {
    sharedContext = undefined
  }
}

/** The work of one block: runs in microtasks, in the `AsyncLocalStorage` context in which the task was made. */
export class Task {
  readonly #context: AsyncResource = sharedContext ?? new AsyncResource('BuzzerBlock')
  readonly #work: () => void
  #waiting = false
  #later = false
  #turn = -1
  #items = 0

  constructor(work: () => void) {
    this.#work = work
  }

  /** Runs the work soon: in a microtask, or in the next turn when this one's share is used up. */
  schedule(): void {
    if (this.#waiting) return
    this.#waiting = true
    if (!armed) begin()
    if (this.#turn === turn && this.#items >= itemsPerTurn) {
      held.push(this)
      return
    }
    queue.push(this)
    if (!draining) drainSoon()
  }

  /**
   * To be called in a microtask of the task's own context, such as the reaction to a promise, before it changes anything:
   * what is scheduled from here on waits for `runNow`, and needs no microtask of its own.
   */
  wake(): void {
    if (!armed) begin()
    draining = true
  }

  /** After `wake`: runs the work, unless the turn is used up, and then what has been scheduled. */
  runNow(): void {
    try {
      if (!this.#waiting) {
        if (timeIsUp || (this.#turn === turn && this.#items >= itemsPerTurn)) this.schedule()
        else this.#work()
      }
    } finally {
      draining = false
    }
    if (queue.length > 0 && !timeIsUp) drain()
  }

  /** After `wake`, in place of `runNow`: leaves the work to a microtask, because more is about to happen in this one. */
  runSoon(): void {
    draining = false
    this.schedule()
    drainSoon()
  }

  /** Schedules the work when this turn is over, whatever happens before. */
  later(): void {
    if (this.#later) return
    this.#later = true
    if (!armed) begin()
    postponed.push(this)
  }

  /** Called at the end of the turn alone. */
  due(): void {
    this.#later = false
    this.schedule()
  }

  /** Called by the queue alone. */
  step(): void {
    this.#waiting = false
    this.#context.runInAsyncScope(this.#work)
  }

  /** Counts one item. True: the turn is used up; leave the rest, the work is scheduled for the next turn. */
  spent(): boolean {
    if (this.#turn !== turn) {
      this.#turn = turn
      this.#items = 0
    }
    if (--untilLook <= 0) look()
    if (++this.#items <= itemsPerTurn && !timeIsUp) return false
    this.schedule()
    return true
  }

  /**
   * As `spent`, for a run of items: how many may be handled before it is asked again. 0: the turn is used up. Give back
   * what was not needed by `handBack`.
   */
  allowance(): number {
    if (this.#turn !== turn) {
      this.#turn = turn
      this.#items = 0
    }
    if (untilLook <= 0) look()
    if (this.#items >= itemsPerTurn || timeIsUp) {
      this.schedule()
      return 0
    }
    const items = Math.min(untilLook, itemsPerTurn - this.#items)
    untilLook -= items
    this.#items += items
    return items
  }

  handBack(items: number): void {
    untilLook += items
    this.#items -= items
  }

  /** Whether both work in the context of one pipeline. */
  sharesContext(other: Task): boolean {
    return this.#context === other.#context
  }

  /** Calls `fn` in the context of the task. */
  inContext<R>(fn: () => R): R {
    return this.#context.runInAsyncScope(fn)
  }
}

// Promises alone starve timers and sockets: so what asynchronous members tell at once is counted, too.
let told = 0
let waiting: (() => void)[] = []

function tellWaiting(): void {
  const ready = waiting
  waiting = []
  for (const tell of ready) tell()
}

function mayTell(): boolean {
  if (!armed) begin()
  return ++told <= itemsPerTurn
}

/** Resolves at once; after 1,024 calls in one turn of the event loop, in the next turn. */
export function tellDone(): Promise<void> {
  return mayTell() ? settled : new Promise(resolve => waiting.push(resolve))
}

/** A promise of `value`, under the same rule. */
export function tell<V>(value: V): Promise<V> {
  return mayTell() ? Promise.resolve(value) : new Promise(resolve => waiting.push(() => resolve(value)))
}

/** The number of the turn of the event loop, as far as blocks worked in it. */
export function currentTurn(): number {
  return turn
}

/** For loops that feed a block: counts one item, and gives what to wait for when the turn is used up. */
export function turnUsedUp(): Promise<void> | undefined {
  if (!armed) begin()
  if (--untilLook <= 0) look()
  if (++told <= itemsPerTurn && !timeIsUp) return undefined
  return new Promise(resolve => waiting.push(resolve))
}
