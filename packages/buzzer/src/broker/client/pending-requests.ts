import type { BuzzerError } from '../../message/index.ts'
import { type ByteWriter, fromWireError, type Request, type WireError, writeRequest } from '../protocol/index.ts'

interface PendingRequest {
  readonly request: Request
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
  /** One that only means something to its connection ends with it; the others are asked again on the next. */
  readonly scope: 'connection' | 'session'
}

/** The rare calls of a session that have no answer yet, and the numbers that calls and settlements share. */
export class PendingRequests {
  readonly #writer: ByteWriter
  readonly #onWritten: () => void
  readonly #pending = new Map<number, PendingRequest>()
  #lastId = 0
  #reads = 0

  constructor(writer: ByteWriter, onWritten: () => void) {
    this.#writer = writer
    this.#onWritten = onWritten
  }

  get count(): number {
    return this.#pending.size
  }

  /** Those that a close waits for: a read of a log may wait for ever. */
  get awaited(): number {
    return this.#pending.size - this.#reads
  }

  newId(): number {
    return ++this.#lastId
  }

  /** Resolves with the engine's answer. Waits over lost connections for as long as the session lives. */
  ask(request: Request, scope: 'connection' | 'session' = 'session'): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const id = this.newId()
      try {
        writeRequest(this.#writer, id, request)
      } catch (error) {
        return reject(error)
      }
      this.#pending.set(id, { request, resolve, reject, scope })
      if (request.call === 'log-read') this.#reads++
      this.#onWritten()
    })
  }

  /** Whether `requestId` was one of these. */
  answered(requestId: number, value: unknown): boolean {
    const pending = this.#pending.get(requestId)
    if (pending === undefined) return false
    this.#forget(requestId, pending)
    pending.resolve(value)
    return true
  }

  failed(requestId: number, error: WireError): boolean {
    const pending = this.#pending.get(requestId)
    if (pending === undefined) return false
    this.#forget(requestId, pending)
    pending.reject(fromWireError(error))
    return true
  }

  #forget(id: number, { request }: PendingRequest): void {
    this.#pending.delete(id)
    if (request.call === 'log-read') this.#reads--
  }

  /** The connection is gone, and what was asked of it alone is void. */
  disconnected(): void {
    for (const [id, pending] of this.#pending) {
      if (pending.scope === 'session') continue
      this.#pending.delete(id)
      pending.resolve(undefined)
    }
  }

  repeat(): void {
    for (const [id, pending] of this.#pending) writeRequest(this.#writer, id, pending.request)
  }

  /** The engine stopped: who asked for an effect hears it. Reads have none, so they wait for the next engine. */
  failEffects(error: () => BuzzerError): void {
    for (const [id, pending] of this.#pending) {
      if (pending.request.call === 'log-read' || pending.request.call === 'log-unread') continue
      this.#pending.delete(id)
      pending.reject(error())
    }
  }

  fail(error: () => BuzzerError): void {
    for (const pending of this.#pending.values()) pending.reject(error())
    this.#pending.clear()
    this.#reads = 0
  }
}
