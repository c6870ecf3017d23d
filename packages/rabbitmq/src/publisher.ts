import { AbortedError, BuzzerError, type Clock, hasCode, isBuzzerError, type Logger } from 'buzzer'
import type { OutgoingMessage } from 'buzzer/transport'
import {
  type AmqpConnection,
  type ConfirmChannel,
  type Message,
  onChannelClosed,
  onDrain,
  publish,
} from './amqplib-connection.ts'
import { disconnected, failureOf } from './errors.ts'
import { type Routes, unroutable } from './routes.ts'
import { type Pending, SendBatch } from './send-batch.ts'
import { checkMessage, encodeMessage, type MessageLimits } from './wire-message.ts'

export interface PublisherHost {
  readonly clock: Clock
  readonly logger: Logger
  readonly routes: Routes
  readonly limits: MessageLimits
  readonly maxUnconfirmed: number
  readonly sendTimeoutMs: number
  /** Whether the queue was declared with a limit, so that a refusal means that it is full. */
  hasLimit(queue: string): boolean
  /** The server closed the channel, but not the connection: `open` again. */
  reopen(): void
}

/** Messages that wait for the connection, for the end of an alarm, or for confirms. Beyond it a send is refused at once. */
const maxWaiting = 100_000
const maxWaitingBytes = 256 * 1024 * 1024
/** How often deadlines are looked at: one timer for all sends. */
const deadlineStepMs = 250

/**
 * The way out: a channel with confirms, on a connection of its own. Keeps the order of the calls. At most `maxUnconfirmed`
 * messages are on their way; further ones wait. What has no confirm when the channel ends leaves again, with the same id,
 * on the next one. A promise resolves when the server has confirmed every message of its call and returned none.
 */
export class Publisher {
  readonly #host: PublisherHost
  #channel: ConfirmChannel | undefined
  #nextTag = 1
  /** By delivery tag, so in the order in which they left. */
  #unconfirmed = new Map<number, Pending>()
  /** Left before, to leave again before anything else. */
  #again: Pending[] = []
  readonly #waiting: SendBatch[] = []
  #waitingFrom = 0
  #waitingMessages = 0
  #waitingBytes = 0
  #isPumping = false
  #isBlocked = false
  #isFull = false
  /** The server closed the channel over one of several messages: they leave one by one until it is found. */
  #isCareful = false
  #timer: unknown
  #whenEmpty: (() => void) | undefined

  constructor(host: PublisherHost) {
    this.#host = host
  }

  /** Messages without confirm, waiting ones included. */
  get outstanding(): number {
    return this.#unconfirmed.size + this.#again.length + this.#waitingMessages
  }

  /** A new channel. Nothing leaves before `resume`. */
  async open(connection: AmqpConnection): Promise<void> {
    const channel = await connection.openConfirmChannel()
    this.#nextTag = 1
    this.#isFull = false
    onChannelClosed(channel, error => this.#channelClosed(channel, error))
    channel.on('ack', fields => this.#confirmed(channel, fields.deliveryTag, fields.multiple, true))
    channel.on('nack', fields => this.#confirmed(channel, fields.deliveryTag, fields.multiple, false))
    channel.on('return', returned => this.#returned(channel, returned))
    onDrain(channel, () => {
      if (channel !== this.#channel || !this.#isFull) return
      this.#isFull = false
      this.resume()
    })
    this.#channel = channel
  }

  /** What waits may leave. */
  resume(): void {
    if (this.#isPumping || !this.#canWrite() || !this.#hasWork) return this.#tellWhenEmpty()
    this.#isPumping = true
    this.#pump().then(
      isHeldUp => {
        this.#isPumping = false
        // What came while the last wait was on its way.
        if (!isHeldUp) this.resume()
      },
      (error: unknown) => {
        this.#isPumping = false
        this.#host.logger.error({ error }, 'sending to rabbitmq met a defect')
      },
    )
  }

  /** While the server's alarm lasts nothing leaves. */
  blocked(isBlocked: boolean): void {
    this.#isBlocked = isBlocked
    this.resume()
  }

  /** The connection is gone. */
  lost(): void {
    this.#isBlocked = false
    if (this.#channel !== undefined) this.#channelClosed(this.#channel, undefined)
  }

  /** `carriedAttempts`: attempts that the message used up before this copy of it. */
  send(messages: readonly OutgoingMessage[], signal: AbortSignal | undefined, carriedAttempts = 0): Promise<void> {
    if (messages.length === 0) return Promise.resolve()
    if (signal?.aborted === true) return Promise.reject(new AbortedError(signal, 'the send', { outcome: 'not-stored' }))
    const { clock, limits, sendTimeoutMs } = this.#host
    try {
      for (const message of messages) checkMessage(message, limits)
    } catch (error) {
      return Promise.reject(error)
    }
    return new Promise((resolve, reject) => {
      const batch = new SendBatch(messages, carriedAttempts, clock.monotonic() + sendTimeoutMs, resolve, reject)
      if (signal !== undefined) {
        batch.listen(signal, () => {
          const outcome = batch.isUntouched ? 'not-stored' : 'unknown'
          batch.end(new AbortedError(signal, 'the send', { outcome }))
        })
      }
      this.#watch()
      if (this.#writeAtOnce(batch)) return
      this.#enqueue(batch)
      this.resume()
    })
  }

  /** Resolves when nothing is outstanding; after `patienceMs` what is left is rejected. */
  async close(patienceMs: number): Promise<void> {
    const { clock } = this.#host
    if (this.outstanding > 0) {
      await new Promise<void>(resolve => {
        const timer = clock.setTimeout(resolve, patienceMs)
        this.#whenEmpty = () => {
          clock.clearTimeout(timer)
          resolve()
        }
        this.#tellWhenEmpty()
      })
    }
    clock.clearTimeout(this.#timer)
    for (const batch of this.#batches()) {
      batch.end(
        new BuzzerError(
          'BUZZER_NOT_RUNNING',
          `the rabbitmq transport was closed before this send was confirmed; it ${batch.isUntouched ? 'is not' : 'may be'} stored`,
        ),
      )
    }
    this.#channel = undefined
  }

  /** The common case: nothing stands before it, and its ways are known. */
  #writeAtOnce(batch: SendBatch): boolean {
    const { routes, clock, maxUnconfirmed } = this.#host
    if (this.#isPumping || this.#hasWork || !this.#canWrite()) return false
    const { pending } = batch
    if (pending.length > 1 && this.#unconfirmed.size + pending.length > maxUnconfirmed) return false
    const now = clock.now()
    for (const one of pending) {
      one.route = routes.known(one.message, now)
      if (one.route === undefined) return false
    }
    for (const one of pending) this.#write(one)
    return true
  }

  get #hasWork(): boolean {
    return this.#waitingMessages > 0 || this.#again.length > 0
  }

  #canWrite(): boolean {
    const most = this.#isCareful ? 1 : this.#host.maxUnconfirmed
    return this.#channel !== undefined && !this.#isBlocked && !this.#isFull && this.#unconfirmed.size < most
  }

  #enqueue(batch: SendBatch): void {
    if (
      this.#waitingMessages + batch.pending.length > maxWaiting ||
      this.#waitingBytes + batch.bytes > maxWaitingBytes
    ) {
      batch.end(
        disconnected(
          `${this.#waitingMessages} messages (${this.#waitingBytes} bytes) wait to be sent already; this one was not stored`,
        ),
      )
      return
    }
    this.#waiting.push(batch)
    this.#waitingMessages += batch.pending.length
    this.#waitingBytes += batch.bytes
  }

  #shiftWaiting(): void {
    const batch = this.#waiting[this.#waitingFrom++] as SendBatch
    this.#waitingMessages -= batch.pending.length
    this.#waitingBytes -= batch.bytes
    if (this.#waitingFrom === this.#waiting.length || this.#waitingFrom === 1_024) {
      this.#waiting.splice(0, this.#waitingFrom)
      this.#waitingFrom = 0
    }
  }

  /** Writes as much as may leave. True: it waits for the other connection, whose return resumes it. */
  async #pump(): Promise<boolean> {
    while (this.#canWrite() && this.#again.length > 0) {
      const [pending] = this.#again as [Pending]
      if (!pending.batch.isOver && !(await this.#findRoutes([pending]))) return true
      if (!this.#canWrite()) return false
      this.#again.shift()
      if (!pending.batch.isOver && pending.state === 'waiting') this.#write(pending)
    }
    while (this.#canWrite() && this.#waitingFrom < this.#waiting.length) {
      const batch = this.#waiting[this.#waitingFrom] as SendBatch
      if (!batch.isOver && !(await this.#findRoutes(batch.pending))) return true
      if (!batch.isOver) {
        for (const pending of batch.pending) {
          if (pending.state !== 'waiting') continue
          if (!this.#canWrite()) return false
          this.#write(pending)
        }
      }
      this.#shiftWaiting()
    }
    return false
  }

  /** Finds the ways of what has not left. When one has none, its whole call ends. False: cannot be told now. */
  async #findRoutes(messages: readonly Pending[]): Promise<boolean> {
    const { clock, routes } = this.#host
    for (const pending of messages) {
      if (pending.state !== 'waiting') continue
      try {
        pending.route = routes.known(pending.message, clock.now())
        if (pending.route !== undefined) continue
        await routes.resolve(pending.message, clock.now())
        pending.route = routes.known(pending.message, clock.now())
        if (pending.route === undefined) return false
      } catch (error) {
        if (hasCode(error, 'BUZZER_DISCONNECTED')) return false
        const refusal = isBuzzerError(error)
          ? error
          : new BuzzerError('BUZZER_SEND_FAILED', `message ${pending.message.id} was not sent`, { cause: error })
        pending.batch.refused(pending, refusal)
        pending.batch.end(refusal)
        return true
      }
    }
    return true
  }

  #write(pending: Pending): void {
    const { message, route, carriedAttempts } = pending
    if (this.#channel === undefined || route === undefined) return
    // Not in the delay chain: it would leave a level before its time.
    const expiresInMs =
      message.expiresAt === undefined || route.isDelayed ? undefined : message.expiresAt - this.#host.clock.now()
    // A confirm alone says nothing of a queue that does not exist.
    const mandatory = message.mandatory || route.isDelayed || 'queue' in message.to
    try {
      const properties = encodeMessage(message, carriedAttempts, expiresInMs)
      const target = { exchange: route.exchange, routingKey: route.routingKey, mandatory }
      this.#isFull = !publish(this.#channel, target, properties, message.body)
    } catch (error) {
      const why = `message ${message.id} cannot be encoded: ${failureOf(error).text}`
      pending.batch.refused(pending, new BuzzerError('BUZZER_INVALID_MESSAGE', why, { cause: error }))
      return
    }
    pending.state = 'sent'
    pending.hasLeft = true
    this.#unconfirmed.set(this.#nextTag++, pending)
  }

  #confirmed(channel: ConfirmChannel, tag: number, isMultiple: boolean, isAccepted: boolean): void {
    if (channel !== this.#channel) return
    const unconfirmed = this.#unconfirmed
    if (isMultiple) {
      for (const [one, pending] of unconfirmed) {
        if (one > tag) break
        unconfirmed.delete(one)
        this.#decide(pending, isAccepted)
      }
    } else {
      const pending = unconfirmed.get(tag)
      if (pending === undefined) return
      unconfirmed.delete(tag)
      this.#decide(pending, isAccepted)
    }
    if (this.#isCareful && unconfirmed.size === 0 && this.#again.length === 0) this.#isCareful = false
    this.resume()
  }

  #decide(pending: Pending, isAccepted: boolean): void {
    const { message, batch } = pending
    if (pending.isReturned) this.#decideReturned(pending)
    else if (isAccepted) batch.accepted(pending)
    else {
      const queue = 'queue' in message.to ? message.to.queue : undefined
      const isFull = queue !== undefined && this.#host.hasLimit(queue)
      const why = isFull ? `queue ${queue} is full` : 'a queue of it is full, or failed'
      const code = isFull ? 'BUZZER_QUEUE_FULL' : 'BUZZER_SEND_FAILED'
      batch.refused(
        pending,
        new BuzzerError(code, `the server refused message ${message.id}: ${why}`, {
          details: { messageId: message.id },
        }),
      )
    }
  }

  /** What was known of the queue may be out of date: the first return is an occasion to look again. */
  #decideReturned(pending: Pending): void {
    const { message, batch } = pending
    const { to } = message
    const isDelayed = pending.route?.isDelayed === true
    pending.isReturned = false
    if (('queue' in to || isDelayed) && !pending.wasReturnedBefore && !batch.isOver) {
      pending.wasReturnedBefore = true
      pending.state = 'waiting'
      if (isDelayed) this.#host.routes.doubtDelays()
      if ('queue' in to) this.#host.routes.forgetQueue(to.queue)
      this.#again.push(pending)
      return
    }
    const why = 'queue' in to ? `queue ${to.queue} does not exist` : `nothing is bound to topic ${to.topic}`
    batch.refused(pending, unroutable(why, { ...to, messageId: message.id }))
  }

  /** The return of a message comes before its confirm. Two of one id and one way are both returned. */
  #returned(channel: ConfirmChannel, returned: Message): void {
    if (channel !== this.#channel) return
    const { messageId } = returned.properties as { messageId?: string }
    const { exchange, routingKey } = returned.fields
    for (const pending of this.#unconfirmed.values()) {
      if (pending.isReturned || pending.message.id !== messageId) continue
      if (pending.route?.exchange !== exchange || pending.route.routingKey !== routingKey) continue
      pending.isReturned = true
      return
    }
  }

  #channelClosed(channel: ConfirmChannel, error: Error | undefined): void {
    if (channel !== this.#channel) return
    this.#channel = undefined
    const unconfirmed = [...this.#unconfirmed.values()]
    this.#unconfirmed = new Map()
    if (error !== undefined) this.#blame(unconfirmed, error)
    for (const pending of unconfirmed) {
      if (pending.state === 'sent') pending.state = 'waiting'
      pending.isReturned = false
    }
    this.#again = [...unconfirmed.filter(({ state, batch }) => state === 'waiting' && !batch.isOver), ...this.#again]
    if (error !== undefined) this.#host.reopen()
    this.#tellWhenEmpty()
  }

  /** The server closed the channel over a message. When only one was on its way, it is that one. */
  #blame(unconfirmed: readonly Pending[], error: Error): void {
    const { code, text } = failureOf(error)
    this.#host.routes.forget()
    const [suspect] = unconfirmed
    if (suspect === undefined || unconfirmed.length > 1) {
      this.#isCareful = unconfirmed.length > 1
      return
    }
    // What the way was found by may just have been deleted; then it is found again once.
    if (code === 404 && !suspect.wasReturnedBefore) {
      suspect.wasReturnedBefore = true
      return
    }
    const { id } = suspect.message
    const isTooLarge = code === 406 && text.includes('message size')
    const why = code === 404 ? 'BUZZER_UNROUTABLE' : isTooLarge ? 'BUZZER_MESSAGE_TOO_LARGE' : 'BUZZER_BROKER_FAILED'
    const details = { messageId: id, replyCode: code }
    suspect.batch.refused(
      suspect,
      new BuzzerError(why, `the server refuses message ${id}: ${text}`, { cause: error, details }),
    )
  }

  *#batches(): Generator<SendBatch> {
    for (const pending of this.#unconfirmed.values()) yield pending.batch
    for (const pending of this.#again) yield pending.batch
    for (let at = this.#waitingFrom; at < this.#waiting.length; at++) yield this.#waiting[at] as SendBatch
  }

  #watch(): void {
    this.#timer ??= this.#host.clock.setTimeout(() => {
      this.#timer = undefined
      const now = this.#host.clock.monotonic()
      for (const batch of this.#batches()) if (!batch.isOver && batch.deadline <= now) batch.end(this.#timedOut(batch))
      if (this.outstanding > 0) this.#watch()
      this.resume()
    }, deadlineStepMs)
  }

  #timedOut({ pending: [first], isUntouched }: SendBatch): BuzzerError {
    const { sendTimeoutMs } = this.#host
    const messageId = first?.message.id
    return new BuzzerError(
      'BUZZER_SEND_TIMEOUT',
      `message ${messageId} was not confirmed within ${sendTimeoutMs} ms; it ${isUntouched ? 'was not stored' : 'may or may not be stored'}: send again with the same messageId`,
      { details: { messageId, timeoutMs: sendTimeoutMs, outcome: isUntouched ? 'not-stored' : 'unknown' } },
    )
  }

  #tellWhenEmpty(): void {
    if (this.#whenEmpty === undefined || this.outstanding > 0) return
    const tell = this.#whenEmpty
    this.#whenEmpty = undefined
    tell()
  }
}
