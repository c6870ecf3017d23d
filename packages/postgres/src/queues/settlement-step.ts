import type { BuzzerError } from 'buzzer'
import type { Settlement } from 'buzzer/transport'
import type { RecordChange } from '../store/record-change.ts'
import type { Encoded } from './manifest.ts'
import type { OpenDelivery } from './open-delivery.ts'

/** A settlement as the contract has it, or the parking that an operator's tool asks for. */
export type Answer = Settlement | { readonly as: 'park' }

export interface StepPart {
  readonly open: OpenDelivery
  readonly answer: Answer
}

/** What is one step: a settlement with all it carries, or all settlements of a group. */
export interface Step {
  readonly parts: readonly StepPart[]
  readonly sends: readonly Encoded[]
  readonly state: readonly RecordChange[]
  readonly cancel: readonly string[]
  /** Whether messages it sends were accepted long ago and so always find room. */
  readonly limits: 'kept' | 'passed'
}

/** Whether more than the messages themselves hangs on it, so that it must not be done in part. */
export function hasEffects(step: Step): boolean {
  return step.sends.length > 0 || step.state.length > 0 || step.cancel.length > 0 || step.parts.length > 1
}

/** What the functions `settle`, `lost` and `renew` are told. The letters are those of the migration. */
export interface SettlementManifest {
  c?: { r: number; l: number; f: 0 | 1 | 2; e: number; b: string }[]
  m?: { r: number; l: number; i: number; a: number; d?: number; w?: string; t?: string }[]
  s?: { r: number; l: number; a: number; d?: number; w?: string; t?: string }[]
  k?: { q: number; k: string; r: number; l: number; a: number; d?: number; w?: string; t?: string }[]
  x?: string[]
}

/** Which leases the server has not: places in the lists of the manifest, from 1. */
export interface LostLeases {
  readonly c: readonly number[] | null
  readonly s: readonly number[] | null
  readonly k: readonly number[] | null
}

export type Refusal = { readonly step: Step; readonly error: BuzzerError }

/** An answer as the letters of the migration say it. */
export function actionOf(answer: Answer): { a: number; d?: number; w?: string; t?: string } {
  switch (answer.as) {
    case 'ack':
      return { a: 0 }
    case 'retry':
      return {
        a: 1,
        ...(answer.delayMs === undefined || !(answer.delayMs > 0) ? {} : { d: Math.min(answer.delayMs, 1e14) }),
      }
    case 'release':
      return { a: 2 }
    case 'dead-letter':
      return {
        a: 3,
        w: answer.reason,
        ...(answer.detail === undefined ? {} : { t: JSON.stringify(answer.detail) }),
      }
    case 'park':
      return { a: 4 }
  }
}
