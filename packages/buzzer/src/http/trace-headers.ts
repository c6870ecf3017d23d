import { parseTraceparent } from '../message/index.ts'

/** What of a request's trace goes into the message; malformed fields are dropped. Source: spec http 5.12, W3C Trace Context. */
export interface TraceHeaders {
  /** CloudEvents attributes `traceparent` and `tracestate`. */
  readonly attributes: Readonly<Record<string, string>>
  /** The `baggage` header. */
  readonly headers: Readonly<Record<string, string>>
}

const visible = /^[\x20-\x7e]+$/
const member = /^\s*[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,256}\s*$/

export function readTrace(request: Headers): TraceHeaders {
  const traceparent = request.get('traceparent')?.trim()
  const tracestate = request.get('tracestate')?.trim()
  const baggage = request.get('baggage')?.trim()
  const attributes: Record<string, string> = {}
  if (traceparent !== undefined && parseTraceparent(traceparent) !== undefined) {
    attributes['traceparent'] = traceparent
    if (tracestate !== undefined && isTracestate(tracestate)) attributes['tracestate'] = tracestate
  }
  const isBaggage = baggage !== undefined && baggage.length <= 8192 && visible.test(baggage) && baggage.includes('=')
  return { attributes, headers: isBaggage ? { baggage } : {} }
}

function isTracestate(text: string): boolean {
  const members = text.split(',').filter(one => one.trim() !== '')
  return text.length <= 512 && members.length > 0 && members.length <= 32 && members.every(one => member.test(one))
}
