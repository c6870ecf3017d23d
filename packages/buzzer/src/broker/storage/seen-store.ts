import { hash } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'
import { type Statement, prepare } from './statement.ts'

/** A window is kept in so many buckets; a bucket is dropped whole once all of it is too old. */
const bucketsPerWindow = 8

/** 128 bits of SHA-256 of a deduplication key. */
export function seenHash(deduplicationKey: Buffer): Buffer {
  return Buffer.from(hash('sha256', deduplicationKey, 'buffer').subarray(0, 16))
}

/** Which deduplication keys a queue has accepted lately. On disk; nothing is kept in memory. */
export class SeenStore {
  readonly #find: Statement<readonly [number]>
  readonly #insert: Statement
  readonly #forget: Statement
  readonly #drop: Statement

  constructor(db: DatabaseSync) {
    this.#find = prepare(db, 'select at from seen where queue = ? and bucket = ? and hash = ?')
    this.#insert = prepare(db, 'insert or replace into seen (queue, bucket, hash, at) values (?, ?, ?, ?)')
    this.#forget = prepare(db, 'delete from seen where queue = ? and hash = ? and bucket between ? and ?')
    this.#drop = prepare(db, 'delete from seen where queue = ? and bucket < ?')
  }

  /** Whether `queue` accepted this key within the window before `now`. */
  has(queue: number, key: Uint8Array, windowMs: number, now: number): boolean {
    const last = this.#bucket(now, windowMs)
    for (let bucket = last; bucket >= last - bucketsPerWindow; bucket--) {
      const at = this.#find.first(queue, bucket, key)?.[0]
      if (at !== undefined && at > now - windowMs) return true
    }
    return false
  }

  note(queue: number, key: Uint8Array, windowMs: number, now: number): void {
    this.#insert.run(queue, this.#bucket(now, windowMs), key, now)
  }

  forget(queue: number, key: Uint8Array, windowMs: number, now: number): void {
    const last = this.#bucket(now, windowMs)
    this.#forget.run(queue, key, last - bucketsPerWindow, last)
  }

  dropOld(queue: number, windowMs: number, now: number): void {
    this.#drop.run(queue, this.#bucket(now, windowMs) - bucketsPerWindow)
  }

  #bucket(now: number, windowMs: number): number {
    return Math.floor(now / Math.max(1, windowMs / bucketsPerWindow))
  }
}
