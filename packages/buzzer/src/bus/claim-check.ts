import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { BuzzerError, type Clock } from '../message/index.ts'
import type { OutgoingMessage } from '../transport/index.ts'
import type { ClaimCheckOptions } from './options.ts'

/** Where large bodies lie. All methods may be called concurrently. Source: spec bus 4.13. */
export interface BlobStore {
  /** Durable when it resolves. `expiresAt`: epoch milliseconds; not deleted before. */
  put(id: string, bytes: Uint8Array, options: { readonly expiresAt: number }): Promise<void>
  /** `undefined` when there is no such blob; rejects when the store cannot be reached. */
  get(id: string): Promise<Uint8Array | undefined>
  delete(id: string): Promise<void>
  /** Deletes what has expired at `now` and resolves to the count. */
  sweep(now: number): Promise<number>
}

/** Blobs in this process's memory, for tests. */
export function memoryBlobs(): BlobStore {
  const blobs = new Map<string, { readonly bytes: Uint8Array; readonly expiresAt: number }>()
  return {
    async put(id, bytes, { expiresAt }) {
      blobs.set(id, { bytes, expiresAt })
    },
    async get(id) {
      return blobs.get(id)?.bytes
    },
    async delete(id) {
      blobs.delete(id)
    },
    async sweep(now) {
      const expired = [...blobs].filter(([, blob]) => blob.expiresAt <= now)
      for (const [id] of expired) blobs.delete(id)
      return expired.length
    },
  }
}

/**
 * One file per blob in the folder `path`, made when missing. The expiry is the file's modification time, so a sweep reads
 * no content and a copy of the folder keeps it.
 */
export function fileBlobs(options: { readonly path: string }): BlobStore {
  const folder = options.path
  // Ids may hold any visible character; a hash is a safe file name everywhere.
  const fileOf = (id: string): string => join(folder, `${createHash('sha256').update(id).digest('hex')}.blob`)
  return {
    async put(id, bytes, { expiresAt }) {
      await mkdir(folder, { recursive: true })
      const file = fileOf(id)
      const draft = `${file}.${process.pid}.${Math.floor(performance.now() * 1_000)}.tmp`
      await writeFile(draft, bytes, { flush: true })
      await utimes(draft, expiresAt / 1_000, expiresAt / 1_000)
      await rename(draft, file)
    },
    async get(id) {
      try {
        return await readFile(fileOf(id))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
        throw error
      }
    },
    async delete(id) {
      await rm(fileOf(id), { force: true })
    },
    async sweep(now) {
      let count = 0
      for (const name of await readdir(folder).catch(() => [] as string[])) {
        if (!name.endsWith('.blob')) continue
        const file = join(folder, name)
        const { mtimeMs } = await stat(file).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }))
        if (mtimeMs > now) continue
        await rm(file, { force: true })
        count++
      }
      return count
    },
  }
}

const defaultThresholdBytes = 256 * 1024
const defaultRetentionMs = 7 * 24 * 3_600_000
const sweepEveryMs = 3_600_000
const foreverMs = 100 * 365 * 24 * 3_600_000

/** Puts bodies above the threshold aside and fetches them again. Blobs outlive their message: other queues may hold copies. */
export class ClaimCheck {
  readonly thresholdBytes: number
  readonly #blobs: BlobStore
  readonly #retentionMs: number
  readonly #clock: Clock
  #timer: unknown

  constructor(options: ClaimCheckOptions, clock: Clock) {
    this.#blobs = options.blobs
    this.thresholdBytes = options.thresholdBytes ?? defaultThresholdBytes
    this.#retentionMs = options.retentionMs ?? defaultRetentionMs
    this.#clock = clock
  }

  async put(message: OutgoingMessage): Promise<OutgoingMessage> {
    const { id } = message
    const lastNeeded = Math.max(this.#clock.now(), message.deliverAt ?? 0, message.expiresAt ?? 0)
    await this.#blobs.put(id, message.body, { expiresAt: lastNeeded + this.#retentionMs })
    return { ...message, body: new Uint8Array(0), attributes: { ...message.attributes, dataref: id } }
  }

  /** @throws BUZZER_CLAIM_MISSING when it is gone; any other error means that it could not be reached. */
  async get(dataref: string): Promise<Uint8Array> {
    const body = await this.#blobs.get(dataref)
    if (body !== undefined) return body
    throw new BuzzerError('BUZZER_CLAIM_MISSING', `the body that the message refers to (${dataref}) is gone`, {
      details: { dataref },
    })
  }

  /** A dead letter needs its body for as long as it lies there, which is for ever unless its queue limits it. */
  async keepFor(dataref: string, deadLetterTtlMs: number = foreverMs): Promise<void> {
    const body = await this.#blobs.get(dataref)
    if (body === undefined) return
    await this.#blobs.put(dataref, body, { expiresAt: this.#clock.now() + deadLetterTtlMs + this.#retentionMs })
  }

  start(onError: (error: unknown) => void): void {
    this.#timer = this.#clock.setTimeout(() => {
      this.#blobs.sweep(this.#clock.now()).catch(onError)
      this.start(onError)
    }, sweepEveryMs)
  }

  close(): void {
    this.#clock.clearTimeout(this.#timer)
  }
}
