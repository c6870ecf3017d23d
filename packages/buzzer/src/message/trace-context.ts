/** W3C Trace Context, level 1: the two fields as they travel. Source: https://www.w3.org/TR/trace-context/ */
export interface TraceContext {
  readonly traceparent: string
  readonly tracestate?: string
}

export interface SpanIdentity {
  /** 32 lower-case hex digits, not all zero. */
  readonly traceId: string
  /** 16 lower-case hex digits, not all zero. */
  readonly spanId: string
  /** Bit 0: sampled. */
  readonly traceFlags: number
}

// Versions above 00 may append fields after a dash; ff is forbidden.
const shape = /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/

/** The parts of a `traceparent`, or `undefined` when it is not a valid one. */
export function parseTraceparent(text: string | undefined): SpanIdentity | undefined {
  const found = text === undefined ? null : shape.exec(text)
  if (found === null || (found[1] === '00' && text?.length !== 55)) return undefined
  return {
    traceId: found[2] as string,
    spanId: found[3] as string,
    traceFlags: Number.parseInt(found[4] as string, 16),
  }
}

export function formatTraceparent(span: SpanIdentity): string {
  return `00-${span.traceId}-${span.spanId}-${(span.traceFlags & 0xff).toString(16).padStart(2, '0')}`
}
