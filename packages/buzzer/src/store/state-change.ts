import type { JsonValue } from '../message/index.ts'

/** One change to a record of a store. Settlements and sends of a transport carry it too. Source: spec bus 3. */
export type StateChange = PutRecord | DeleteRecord

export interface PutRecord {
  readonly op: 'put'
  readonly collection: string
  readonly id: string
  readonly value: JsonValue
  /** The version the record must have now: a number, `absent`, or `any`. Otherwise `BUZZER_CONFLICT`. */
  readonly expected: number | 'absent' | 'any'
  /** Values for the collection's declared indexes. A value left out is not found by that index. */
  readonly indexes?: Readonly<Record<string, Scalar>>
  /** The record is gone from then on. Epoch milliseconds. */
  readonly expiresAt?: number
}

export interface DeleteRecord {
  readonly op: 'delete'
  readonly collection: string
  readonly id: string
  readonly expected: number | 'any'
}

/** What an index holds. Numbers sort before text. */
export type Scalar = string | number
