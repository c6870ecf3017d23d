import { describe, expect, test } from 'vitest'
import { defineCommand, defineEvent, parseTraceparent } from '../message/index.ts'
import { createHarness } from '../testing/index.ts'
import type { Counter, Histogram, Meter, Span, SpanOptions, Tracer, TraceScope } from './index.ts'

interface Recorded {
  readonly name: string
  readonly options: SpanOptions
  readonly traceId: string
  readonly spanId: string
  readonly parent: string | undefined
  ended: boolean
  errors: number
}

const spanKey = Symbol.for('OpenTelemetry Context Key SPAN')

/** A tracer that behaves as the SDK's in what Buzzer relies on. */
function recordingTracer(): { tracer: Tracer; spans: Recorded[] } {
  const spans: Recorded[] = []
  const make = (name: string, options: SpanOptions, scope: TraceScope | undefined): Span => {
    const above = (scope?.getValue(spanKey) as Span | undefined)?.spanContext()
    const number = String(spans.length + 1)
    const recorded: Recorded = {
      name,
      options,
      traceId: above?.traceId ?? number.padStart(32, 'a'),
      spanId: number.padStart(16, 'b'),
      parent: above?.spanId,
      ended: false,
      errors: 0,
    }
    spans.push(recorded)
    return {
      spanContext: () => ({ traceId: recorded.traceId, spanId: recorded.spanId, traceFlags: 1 }),
      setAttribute() {},
      setStatus() {},
      recordException() {
        recorded.errors++
      },
      addEvent() {},
      end() {
        recorded.ended = true
      },
    }
  }
  const tracer: Tracer = {
    startSpan: (name, options, scope) => make(name, options ?? {}, scope),
    startActiveSpan: (name, options, scope, run) => run(make(name, options, scope)),
  }
  return { tracer, spans }
}

function countingMeter(): { meter: Meter; counts: Map<string, number> } {
  const counts = new Map<string, number>()
  const add = (name: string, value: number): void => void counts.set(name, (counts.get(name) ?? 0) + value)
  const counter = (name: string): Counter => ({ add: value => add(name, value) })
  const histogram = (name: string): Histogram => ({ record: () => add(name, 1) })
  return { meter: { createCounter: counter, createUpDownCounter: counter, createHistogram: histogram }, counts }
}

const Do = defineCommand<{ n: number }>('work.do')
const Out = defineEvent<{ n: number }>('work.out')

describe('M2 telemetry', () => {
  test('producer, handler and what the handler emits are one trace, each the child of the one before', async () => {
    const { tracer, spans } = recordingTracer()
    const seen: (string | undefined)[] = []
    await using harness = await createHarness({
      telemetry: { tracer },
      configure: bus => {
        bus.queue('q').handle(Do, (_, ctx) => ctx.publish(Out, { n: 2 }, { delayMs: 1_000 }).then(() => {}))
        bus.queue('out').handle(Out, () => {
          seen.push('out')
        })
      },
    })
    await harness.bus.send(Do, { n: 1 })
    await harness.advance(2_000)
    expect(seen).toHaveLength(1)
    const named = (name: string): Recorded => {
      const found = spans.find(span => span.name === name)
      expect(found, `${name} among ${spans.map(span => span.name).join(', ')}`).toBeDefined()
      return found as Recorded
    }
    const [send, process, create, second] = [
      named('send q'),
      named('process q'),
      named('create work.out'),
      named('process out'),
    ]
    expect(new Set([send, process, create, second].map(span => span.traceId)).size).toBe(1)
    expect(process.parent).toBe(send.spanId)
    expect(create.parent).toBe(process.spanId)
    expect(second.parent).toBe(create.spanId)
    expect(process.options.links).toHaveLength(1)
    expect(named('ack q').options.kind).toBe(2)
    expect(named('send work.out').options.links?.map(link => link.context.spanId)).toEqual([create.spanId])
    expect(spans.every(span => span.ended)).toBe(true)
  })

  test('without a tracer the trace id passes on unchanged', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    await using harness = await createHarness({
      configure: bus => {
        bus.queue('q').handle(Do, (_, ctx) => ctx.publish(Out, { n: 2 }).then(() => {}))
        bus.queue('out', { retry: 'none' }).handle(Out, () => {
          throw new Error('to be looked at')
        })
      },
    })
    await harness.bus.send(Do, { n: 1 }, { headers: { traceparent } })
    await harness.idle()
    const [letter] = (await harness.bus.admin.deadLetters('out').list()).items
    expect(letter?.attributes['traceparent']).toBe(traceparent)
    expect(parseTraceparent(letter?.attributes['traceparent'])?.traceFlags).toBe(1)
  })

  test('metrics count and time each send, run and settlement', async () => {
    const { meter, counts } = countingMeter()
    await using harness = await createHarness({
      telemetry: { meter },
      configure: bus => {
        bus.queue('q', { retry: { immediate: 1, delayedMs: [] } }).handle(Do, async (one, ctx) => {
          await ctx.publish(Out, { n: 2 })
          if (one.n === 2) throw new Error('always')
        })
      },
    })
    await harness.bus.send(Do, { n: 1 })
    await harness.bus.send(Do, { n: 2 })
    await harness.idle()
    expect(Object.fromEntries(counts)).toMatchObject({
      // Two sends of the test, one output, one fault.
      'messaging.client.sent.messages': 4,
      'messaging.process.duration': 3,
      'messaging.client.consumed.messages': 3,
      'buzzer.retries': 1,
      'buzzer.dead_letters': 1,
      'buzzer.in_flight': 0,
      // Two sends, two settlements.
      'messaging.client.operation.duration': 4,
    })
  })
})
