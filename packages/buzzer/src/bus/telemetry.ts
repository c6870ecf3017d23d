import { formatTraceparent, parseTraceparent, type TraceContext } from '../message/index.ts'
import type { Settlement } from '../transport/index.ts'
import { nameOf } from './emission.ts'
import type { Incoming } from './pipeline/incoming.ts'

/** The part of an OpenTelemetry tracer that Buzzer uses; `@opentelemetry/api` fits by structure. */
export interface Tracer {
  startSpan(name: string, options?: SpanOptions, context?: TraceScope): Span
  startActiveSpan<T>(name: string, options: SpanOptions, context: TraceScope, run: (span: Span) => T): T
}

/** An OpenTelemetry context, by structure. */
export interface TraceScope {
  getValue(key: symbol): unknown
  setValue(key: symbol, value: unknown): TraceScope
  deleteValue(key: symbol): TraceScope
}

export interface SpanOptions {
  kind?: number
  attributes?: Record<string, string | number | boolean>
  links?: { context: SpanContext; attributes?: Record<string, string | number> }[]
}

export interface SpanContext {
  traceId: string
  spanId: string
  traceFlags: number
  isRemote?: boolean
}

export interface Span {
  spanContext(): SpanContext & { traceState?: { serialize(): string } | undefined }
  setAttribute(name: string, value: string | number | boolean): unknown
  setStatus(status: { code: number; message?: string }): unknown
  recordException(error: Error | string): void
  addEvent(name: string, attributes?: Record<string, string | number | boolean>): unknown
  end(): void
}

/** The part of an OpenTelemetry meter that Buzzer uses. */
export interface Meter {
  createCounter(name: string, options?: { description?: string; unit?: string }): Counter
  createHistogram(name: string, options?: { description?: string; unit?: string }): Histogram
  createUpDownCounter(name: string, options?: { description?: string; unit?: string }): Counter
}

export interface Counter {
  add(value: number, attributes?: Record<string, string | number>): void
}

export interface Histogram {
  record(value: number, attributes?: Record<string, string | number>): void
}

/** Values of OpenTelemetry's SpanKind and SpanStatusCode. */
const kinds = { client: 2, producer: 3, consumer: 4 } as const
const statusError = 2

// `createContextKey` of @opentelemetry/api makes its keys by Symbol.for, so a context can be built without the package.
const spanKey = Symbol.for('OpenTelemetry Context Key SPAN')

function scopeOf(span: SpanContext | undefined): TraceScope {
  const values = new Map<symbol, unknown>()
  if (span !== undefined) values.set(spanKey, { spanContext: () => span })
  return scopeOver(values)
}

function scopeOver(values: ReadonlyMap<symbol, unknown>): TraceScope {
  return {
    getValue: key => values.get(key),
    setValue: (key, value) => scopeOver(new Map(values).set(key, value)),
    deleteValue(key) {
      const rest = new Map(values)
      rest.delete(key)
      return scopeOver(rest)
    },
  }
}

function remote(trace: TraceContext | undefined): SpanContext | undefined {
  const parsed = parseTraceparent(trace?.traceparent)
  return parsed === undefined ? undefined : { ...parsed, isRemote: true }
}

/** A span under way for a message that is going out. */
export interface OutgoingSpan {
  /** What travels. Without a tracer: the parent's. */
  readonly trace: TraceContext | undefined
  ended(error: unknown): void
}

/** Spans and metrics by the OpenTelemetry messaging conventions. Source: spec bus 4.15. */
export class Telemetry {
  readonly #tracer: Tracer | undefined
  readonly #system: string
  readonly #operation: Histogram | undefined
  readonly #processing: Histogram | undefined
  readonly #sent: Counter | undefined
  readonly #consumed: Counter | undefined
  readonly #retries: Counter | undefined
  readonly #deadLetters: Counter | undefined
  readonly #expired: Counter | undefined
  readonly #duplicates: Counter | undefined
  readonly #inFlight: Counter | undefined
  readonly #parkedRows: Counter | undefined
  readonly #pendingRows: Counter | undefined
  readonly #breakers: Counter | undefined
  readonly #breakerStates = new Map<string, number>()
  readonly #lostFaults: Counter | undefined
  readonly #lateAnswers: Counter | undefined
  readonly #now: () => number

  constructor(options: { tracer?: Tracer; meter?: Meter }, system: string, now: () => number) {
    this.#tracer = options.tracer
    this.#system = system
    this.#now = now
    const { meter } = options
    this.#operation = meter?.createHistogram('messaging.client.operation.duration', { unit: 's' })
    this.#processing = meter?.createHistogram('messaging.process.duration', { unit: 's' })
    this.#sent = meter?.createCounter('messaging.client.sent.messages')
    this.#consumed = meter?.createCounter('messaging.client.consumed.messages')
    this.#retries = meter?.createCounter('buzzer.retries')
    this.#deadLetters = meter?.createCounter('buzzer.dead_letters')
    this.#expired = meter?.createCounter('buzzer.expired')
    this.#duplicates = meter?.createCounter('buzzer.duplicates')
    this.#inFlight = meter?.createUpDownCounter('buzzer.in_flight')
    this.#parkedRows = meter?.createUpDownCounter('buzzer.outbox.parked')
    this.#pendingRows = meter?.createUpDownCounter('buzzer.outbox.pending')
    this.#breakers = meter?.createUpDownCounter('buzzer.breaker.state')
    this.#lostFaults = meter?.createCounter('buzzer.faults.lost')
    this.#lateAnswers = meter?.createCounter('buzzer.late_answers')
  }

  /**
   * A message goes out: `publish`/`send` outside a handler, `create` inside one. The result's context travels with it.
   * Without a tracer there is no span, and `undefined` says that the inherited context goes on.
   */
  emitting(
    operation: 'publish' | 'send' | 'create',
    destination: string,
    parent: TraceContext | undefined,
  ): OutgoingSpan {
    const startedAt = this.#now()
    const attributes = this.#attributes(operation === 'create' ? 'create' : 'send', operation, destination)
    const options: SpanOptions = { kind: kinds.producer, attributes }
    const above = remote(parent)
    const span = this.#tracer?.startSpan(
      `${operation} ${destination}`,
      options,
      // Outside a handler the caller's own active span is the parent, which the SDK finds when no context is given.
      ...(above === undefined ? [] : ([scopeOf(above)] as const)),
    )
    return {
      trace: span === undefined ? parent : traceOf(span),
      ended: error => {
        if (operation !== 'create') {
          this.#operation?.record((this.#now() - startedAt) / 1_000, metricsOf(attributes, error))
          this.#sent?.add(1, metricsOf(attributes, error))
        }
        endSpan(span, error)
      },
    }
  }

  /**
   * One handler run as a span; the handler's own spans become its children, since a structural tracer can only make a span
   * active that it starts. Its parent and link is the message's context; a batch has links only.
   */
  process(
    queue: string,
    attempt: number,
    incoming: Incoming,
    call: () => unknown,
    batch?: readonly Incoming[],
  ): unknown {
    const startedAt = this.#now()
    const count = batch?.length ?? 1
    const attributes = {
      ...this.#attributes('process', 'process', queue),
      ...(batch === undefined
        ? {
            'messaging.message.id': incoming.id,
            'messaging.message.conversation_id': incoming.conversationId,
            'messaging.message.body.size': incoming.delivery.body.length,
          }
        : { 'messaging.batch.message_count': count }),
    }
    this.#inFlight?.add(1, { queue })
    const done = (span: Span | undefined, error: unknown): void => {
      this.#inFlight?.add(-1, { queue })
      this.#processing?.record((this.#now() - startedAt) / 1_000, metricsOf(attributes, error))
      this.#consumed?.add(count, metricsOf(attributes, error))
      span?.addEvent('attempt', { attempt, ...(error === undefined ? {} : { 'error.type': typeOf(error) }) })
      endSpan(span, error)
    }
    if (this.#tracer === undefined) return watched(call, error => done(undefined, error))
    const links = (batch ?? [incoming]).flatMap(one => {
      const context = remote(one.receivedTrace)
      return context === undefined ? [] : [{ context }]
    })
    const options: SpanOptions = { kind: kinds.consumer, attributes, links }
    const parent = batch === undefined ? remote(incoming.receivedTrace) : undefined
    return this.#tracer.startActiveSpan(`process ${queue}`, options, scopeOf(parent), span => {
      incoming.continueTrace(traceOf(span))
      return watched(call, error => done(span, error))
    })
  }

  /**
   * How a delivery ended, as a span of its own; what leaves with it is counted as sent, and is one more span that is linked
   * to the `create` of each message.
   */
  settled(queue: string, settlement: Settlement, startedAt: number | undefined, trace: TraceContext | undefined): void {
    const { as } = settlement
    const attributes = this.#attributes('settle', as, queue)
    const seconds = startedAt === undefined ? 0 : (this.#now() - startedAt) / 1_000
    this.#operation?.record(seconds, attributes)
    const scope = scopeOf(remote(trace))
    this.#tracer?.startSpan(`${as} ${queue}`, { kind: kinds.client, attributes }, scope).end()
    const sent = 'send' in settlement ? (settlement.send ?? []) : []
    for (const [destination, messages] of Map.groupBy(sent, message => nameOf(message.to))) {
      const sending = {
        ...this.#attributes('send', 'send', destination),
        'messaging.batch.message_count': messages.length,
      }
      this.#sent?.add(messages.length, metricsOf(sending, undefined))
      const links = messages.flatMap(({ attributes: { traceparent } }) => {
        const context = traceparent === undefined ? undefined : remote({ traceparent })
        return context === undefined ? [] : [{ context }]
      })
      this.#tracer?.startSpan(`send ${destination}`, { kind: kinds.client, attributes: sending, links }, scope).end()
    }
  }

  retried(queue: string): void {
    this.#retries?.add(1, { queue })
  }
  deadLettered(queue: string, reason: string): void {
    this.#deadLetters?.add(1, { queue, reason })
  }
  expired(queue: string): void {
    this.#expired?.add(1, { queue })
  }
  duplicate(queue: string): void {
    this.#duplicates?.add(1, { queue })
  }
  parked(): void {
    this.#parkedRows?.add(1)
  }
  pending(change: number): void {
    this.#pendingRows?.add(change)
  }
  faultLost(): void {
    this.#lostFaults?.add(1)
  }
  lateAnswer(): void {
    this.#lateAnswers?.add(1)
  }

  /** 0 closed, 1 half-open, 2 open. */
  breaker(queue: string, state: 'closed' | 'open' | 'half-open'): void {
    const value = { closed: 0, 'half-open': 1, open: 2 }[state]
    this.#breakers?.add(value - (this.#breakerStates.get(queue) ?? 0), { queue })
    this.#breakerStates.set(queue, value)
  }

  #attributes(type: string, name: string, destination: string): Record<string, string> {
    return {
      'messaging.system': this.#system,
      'messaging.operation.name': name,
      'messaging.operation.type': type,
      'messaging.destination.name': destination,
    }
  }
}

function watched(call: () => unknown, done: (error: unknown) => void): unknown {
  let result: unknown
  try {
    result = call()
  } catch (error) {
    done(error)
    throw error
  }
  if (!(result instanceof Promise)) {
    done(undefined)
    return result
  }
  // oxlint-disable promise/no-callback-in-promise -- `done` ends the span; it is no continuation
  return result.then(
    value => {
      done(undefined)
      return value as unknown
    },
    (error: unknown) => {
      done(error)
      throw error
    },
  )
}

function endSpan(span: Span | undefined, error: unknown): void {
  if (span === undefined) return
  if (error !== undefined) {
    const told =
      error instanceof Error
        ? error
        : new Error(typeof error === 'string' ? error : 'something that is no Error was thrown')
    span.recordException(told)
    span.setAttribute('error.type', typeOf(error))
    span.setStatus({ code: statusError, message: told.message })
  }
  span.end()
}

function traceOf(span: Span): TraceContext {
  const context = span.spanContext()
  const traceparent = formatTraceparent(context)
  const tracestate = context.traceState?.serialize()
  return tracestate === undefined || tracestate === '' ? { traceparent } : { traceparent, tracestate }
}

function typeOf(error: unknown): string {
  const { code, name } = error as { code?: unknown; name?: unknown }
  return typeof code === 'string' ? code : typeof name === 'string' ? name : 'Error'
}

const perMessage = ['messaging.message.id', 'messaging.message.conversation_id', 'messaging.message.body.size']

/** Ids have no place in metrics: each would be a series of its own. */
function metricsOf(attributes: Record<string, string | number>, error: unknown): Record<string, string | number> {
  const rest = { ...attributes }
  for (const name of perMessage) delete rest[name]
  return error === undefined ? rest : { ...rest, 'error.type': typeOf(error) }
}
