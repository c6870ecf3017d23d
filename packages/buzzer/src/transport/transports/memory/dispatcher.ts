import type { Receipt } from '../../index.ts'
import { Deque } from './deque.ts'
import type { MemoryQueue } from './queue.ts'
import type { MemoryReceiver } from './receiver.ts'

/** Deliveries handed out, and sends answered, before the event loop gets its turn. */
const deliveriesPerTurn = 512
const sendsPerTurn = 512

const atOnce = Promise.resolve()

/**
 * Hands messages to receivers: in a microtask while the turn's budget lasts, so that a message starts at once and a busy
 * queue is served in batches; then after the event loop has had its turn, so that timers and sockets are never starved.
 */
export class Dispatcher {
  readonly #pending: MemoryQueue[] = []
  readonly #returning = new Set<MemoryQueue>()
  #budget = deliveriesPerTurn
  #sendBudget = sendsPerTurn
  readonly #senders = new Deque<Pick<Receipt, 'accepted'>>()
  #isDispatchQueued = false
  #isTurnQueued = false

  /** Something is about to be handed out or made ready. */
  get isBusy(): boolean {
    return this.#isDispatchQueued || this.#returning.size > 0
  }

  deliverable(queue: MemoryQueue): void {
    if (queue.isDispatchPending || queue.receivers.length === 0) return
    queue.isDispatchPending = true
    this.#pending.push(queue)
    if (this.#isDispatchQueued) return
    this.#isDispatchQueued = true
    if (this.#budget > 0) queueMicrotask(this.#dispatch)
    else this.#queueTurn()
  }

  /**
   * When a send that was just accepted is answered: at once, and in a later turn for senders who never pause. Loops of
   * awaited sends would otherwise fill the broker before the first handler runs.
   */
  answered(): Promise<void> {
    if (this.#sendBudget > 0) {
      this.#sendBudget--
      return atOnce
    }
    this.#queueTurn()
    return new Promise(resolve => this.#senders.push({ accepted: resolve }))
  }

  /** The same, told to `receipt`. */
  answer(receipt: Receipt): void {
    if (this.#sendBudget > 0) {
      this.#sendBudget--
      receipt.accepted()
      return
    }
    this.#queueTurn()
    this.#senders.push(receipt)
  }

  /** What was given back becomes ready in the next turn. */
  returned(queue: MemoryQueue): void {
    this.#returning.add(queue)
    this.#queueTurn()
  }

  readonly #dispatch = (): void => {
    this.#isDispatchQueued = false
    // A turn that delivers anything ends, so that the next one starts with a full budget.
    this.#queueTurn()
    const queues = this.#pending.splice(0)
    for (const queue of queues) queue.isDispatchPending = false
    for (const queue of queues) this.#serve(queue)
  }

  #serve(queue: MemoryQueue): void {
    while (queue.readyNow > 0) {
      const receiver = nextReceiver(queue)
      if (receiver === undefined) return
      if (this.#budget === 0) {
        this.deliverable(queue)
        return
      }
      const entry = queue.take()
      if (entry === undefined) return
      this.#budget--
      receiver.deliver(entry)
    }
  }

  #queueTurn(): void {
    if (this.#isTurnQueued) return
    this.#isTurnQueued = true
    setImmediate(this.#turn)
  }

  readonly #turn = (): void => {
    this.#isTurnQueued = false
    this.#budget = deliveriesPerTurn
    const returning = [...this.#returning]
    this.#returning.clear()
    for (const queue of returning) queue.flushReturning()
    if (this.#pending.length > 0) this.#dispatch()
    this.#answerSenders()
  }

  #answerSenders(): void {
    this.#sendBudget = sendsPerTurn
    while (this.#sendBudget > 0) {
      const sender = this.#senders.shift()
      if (sender === undefined) return
      this.#sendBudget--
      sender.accepted()
    }
    this.#queueTurn()
  }
}

function nextReceiver(queue: MemoryQueue): MemoryReceiver | undefined {
  const { receivers } = queue
  for (let tried = 0; tried < receivers.length; tried++) {
    queue.nextReceiver = (queue.nextReceiver + 1) % receivers.length
    const receiver = receivers[queue.nextReceiver] as MemoryReceiver
    if (receiver.hasCredit) return receiver
  }
  return undefined
}
