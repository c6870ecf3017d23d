import type { Bus, HandlerContext } from '../bus/index.ts'
import { BuzzerError, DeadLetterError, defineCommand, RetryLaterError } from '../message/index.ts'
import type { HandOver, OperationRecord } from '../operations/index.ts'
import { type AllowedCallbacks, isAllowed, readCallbackUrl } from './callback-url.ts'
import type { GatewayCore } from './core.ts'
import { invalid, number, refuseUnknown } from './settings.ts'
import { BlockedAddress, postWebhook, type Resolve, systemResolve, type WebhookAnswer } from './webhook-request.ts'
import { readSecret, signWebhook } from './webhook-signature.ts'

/** Webhooks by Standard Webhooks 1.0.0. Source: spec http 6. */
export interface WebhookOptions {
  /** `whsec_` and base64 of 24 to 64 bytes; each signs, so a new one can be added before an old one goes. */
  readonly secrets: readonly string[]
  /** Exact origins, or a judgement: there scheme and address are not looked at. Default: none. */
  readonly allow?: AllowedCallbacks
  /** Waits between attempts, each up to a fifth longer. Default 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h. */
  readonly retryDelaysMs?: readonly number[]
  /** Of one attempt, from the connection to the end of the answer. Default 15,000. */
  readonly timeoutMs?: number
  /** A result that would make the body larger is left out. Default 20,000. */
  readonly maxBodyBytes?: number
  /** Every address of a name. Default: the system's resolver. */
  readonly resolve?: Resolve
}

interface Webhook {
  /** `webhook-id`: the same for every attempt. */
  readonly id: string
  readonly url: string
  readonly body: string
}

const DeliverWebhook = defineCommand<Webhook>('buzzer-http.deliver-webhook')

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const defaultDelaysMs = [
  5_000,
  5 * minuteMs,
  30 * minuteMs,
  2 * hourMs,
  5 * hourMs,
  10 * hourMs,
  14 * hourMs,
  20 * hourMs,
  24 * hourMs,
]
const maxPerHost = 10
const honoursRetryAfter = new Set([429, 502, 503, 504])
const webhookOptions = new Set(['secrets', 'allow', 'retryDelaysMs', 'timeoutMs', 'maxBodyBytes', 'resolve'])

/**
 * Tells receivers of the end of operations. Deliveries are messages on the queue `<bus>.webhooks`: they survive restarts,
 * are retried by its policy, and what never arrives is a dead letter whose redrive is the manual replay.
 */
export class Webhooks {
  readonly #core: GatewayCore
  readonly #keys: readonly Buffer[]
  readonly #allow: AllowedCallbacks | undefined
  readonly #delaysMs: readonly number[]
  readonly #timeoutMs: number
  readonly #maxBodyBytes: number
  readonly #resolve: Resolve
  readonly #queue: string
  readonly #hosts = new HostSlots()

  /** @throws BUZZER_INVALID_OPTION */
  constructor(core: GatewayCore, bus: Bus<unknown>, options: WebhookOptions) {
    refuseUnknown('webhooks', options, webhookOptions)
    if (!Array.isArray(options.secrets) || options.secrets.length === 0)
      throw invalid('webhooks.secrets', 'webhooks needs secrets')
    this.#core = core
    this.#keys = options.secrets.map(readSecret)
    this.#allow = options.allow
    this.#delaysMs = options.retryDelaysMs ?? defaultDelaysMs
    this.#timeoutMs = number('webhooks.timeoutMs', options.timeoutMs, 15_000)
    this.#maxBodyBytes = number('webhooks.maxBodyBytes', options.maxBodyBytes, 20_000)
    this.#resolve = options.resolve ?? systemResolve
    this.#queue = `${core.port.bus}.webhooks`
    bus
      .queue(this.#queue, { concurrency: 64, retry: { immediate: 0, delayedMs: this.#delaysMs, jitter: 0.2 } })
      .handle(DeliverWebhook, (webhook, ctx) => this.#deliver(webhook, ctx))
    core.inside.callbacks.handOverTo(this.#handOver)
    core.inside.checkCallback = url => {
      const judged = readCallbackUrl(url, this.#allow)
      if (typeof judged === 'string') throw invalid('callbackUrl', judged)
    }
  }

  /** Why a callback must not go to `given`, or `undefined`. */
  refusal(given: unknown): string | undefined {
    const judged = readCallbackUrl(given, this.#allow)
    return typeof judged === 'string' ? judged : undefined
  }

  readonly #handOver: HandOver = async (record, change) => {
    const { port } = this.#core
    const { callback } = record
    if (callback === undefined) return
    const id = port.newId()
    await port.sendWith(
      DeliverWebhook,
      { id, url: callback.url, body: this.#body(record) },
      { messageId: id, to: this.#queue, state: [change] },
    )
  }

  #body(record: OperationRecord): string {
    const { operation } = record
    const data = this.#core.resources.body(record)
    const event = { type: `operation.${operation.status}`, timestamp: operation.finishedAt, data }
    const whole = JSON.stringify(event)
    if (Buffer.byteLength(whole) <= this.#maxBodyBytes || operation.result === undefined) return whole
    const { result: _result, ...rest } = data
    return JSON.stringify({ ...event, data: { ...rest, resultOmitted: 'too-large' } })
  }

  async #deliver(webhook: Webhook, ctx: HandlerContext<unknown>): Promise<void> {
    const { logger } = this.#core
    const url = new URL(webhook.url)
    using _slot = await this.#hosts.enter(url.host)
    const { status, retryAfter } = await this.#post(webhook, url, ctx.signal)
    if (status >= 200 && status < 300) return
    if (status === 410) {
      logger.info({ webhook: webhook.id }, 'a webhook receiver is gone for good (410); its callback has ended')
      return
    }
    const error = new BuzzerError('BUZZER_WEBHOOK_REFUSED', `the receiver answered ${status}`, { details: { status } })
    const askedMs = honoursRetryAfter.has(status) ? this.#askedMs(retryAfter) : 0
    const plannedMs = this.#delaysMs[ctx.attempt - 1] ?? 0
    if (askedMs > plannedMs && ctx.attempt <= this.#delaysMs.length)
      throw new RetryLaterError(askedMs, { cause: error })
    throw error
  }

  async #post({ id, body }: Webhook, url: URL, cancelled: AbortSignal): Promise<WebhookAnswer> {
    const { clock } = this.#core
    const timeout = new AbortController()
    const timer = clock.setTimeout(() => timeout.abort(new Error('the receiver took too long')), this.#timeoutMs)
    const timestampS = Math.floor(clock.now() / 1000)
    try {
      return await postWebhook({
        url,
        body,
        anyAddress: isAllowed(url, this.#allow),
        resolve: this.#resolve,
        signal: AbortSignal.any([timeout.signal, cancelled]),
        headers: {
          'content-type': 'application/json',
          'content-length': String(Buffer.byteLength(body)),
          'user-agent': 'buzzer',
          'webhook-id': id,
          'webhook-timestamp': String(timestampS),
          'webhook-signature': signWebhook(this.#keys, id, timestampS, body),
        },
      })
    } catch (error) {
      if (error instanceof BlockedAddress) throw new DeadLetterError('blocked-address', { cause: error })
      throw error
    } finally {
      clock.clearTimeout(timer)
    }
  }

  /** `Retry-After` in seconds or as a date; 0 for what is neither. */
  #askedMs(retryAfter: string | undefined): number {
    if (retryAfter === undefined) return 0
    if (/^\d+$/.test(retryAfter)) return Number(retryAfter) * 1000
    const at = Date.parse(retryAfter)
    return Number.isNaN(at) ? 0 : Math.max(0, at - this.#core.clock.now())
  }
}

/** At most `maxPerHost` attempts at once per host; the others wait in their turn. */
class HostSlots {
  readonly #hosts = new Map<string, { active: number; readonly waiting: (() => void)[] }>()

  async enter(host: string): Promise<Disposable> {
    let slots = this.#hosts.get(host)
    if (slots === undefined) {
      slots = { active: 0, waiting: [] }
      this.#hosts.set(host, slots)
    }
    const mine = slots
    if (mine.active < maxPerHost) mine.active++
    else await new Promise<void>(resolve => mine.waiting.push(resolve))
    return {
      [Symbol.dispose]: () => {
        const next = mine.waiting.shift()
        if (next !== undefined) return next()
        mine.active--
        if (mine.active === 0) this.#hosts.delete(host)
      },
    }
  }
}
