import { type AnyContract, type EventContract, type In, type JsonValue, json } from '../message/index.ts'
import type { ErrorRecord } from './dead-letter.ts'

/** What is published when a message becomes a dead letter. Source: spec bus 4.6. */
export interface Fault<M = unknown> {
  readonly faultId: string
  readonly messageId: string
  readonly messageType?: string
  readonly queue: string
  readonly bus: string
  readonly reason: string
  /** The last `ctx.attempt`; 0 when no handler ran. */
  readonly attempts: number
  /** RFC 3339. */
  readonly failedAt: string
  /** First what was thrown, then its causes. */
  readonly errors: readonly ErrorRecord[]
  /** The decoded body; absent when there is none to decode, or JSON cannot carry it. */
  readonly message?: M
  readonly host: { readonly bus: string; readonly instanceId: string; readonly hostname: string; readonly pid: number }
}

// Both names are reserved, so they are made here and not by defineEvent, which refuses them.
function faultEvent<M>(type: string, bases: readonly EventContract<never, unknown>[]): EventContract<Fault<M>> {
  return Object.freeze({
    kind: 'event' as const,
    name: type,
    version: 1,
    type,
    schema: undefined,
    codec: json,
    key: undefined,
    correlationId: undefined,
    upcasts: Object.freeze([]),
    bases: Object.freeze([...bases]),
  })
}

/** The base of all faults: whoever handles it gets every fault of every bus of the broker. */
export const anyFault: EventContract<Fault<JsonValue>> = faultEvent<JsonValue>('buzzer.fault', [])

const faults = new WeakMap<AnyContract, EventContract<Fault<never>>>()

/** The fault event of a contract: `<type>.fault`. Its bases are the faults of the contract's bases and, last, `anyFault`. */
export function faultOf<C extends AnyContract>(contract: C): EventContract<Fault<In<C>>> {
  let fault = faults.get(contract)
  if (fault === undefined) {
    const bases = contract.kind === 'event' ? contract.bases.map(base => faultOf(base)) : []
    fault = faultEvent<never>(`${contract.type}.fault`, [...bases, anyFault])
    faults.set(contract, fault)
  }
  return fault as unknown as EventContract<Fault<In<C>>>
}

/** Whether a type is that of a fault: a fault that fails makes no further fault. */
export function isFaultType(type: string | undefined): boolean {
  return type !== undefined && (type === anyFault.type || type.endsWith('.fault'))
}
