import type { MessagePort } from 'node:worker_threads'
import type { Clock } from '../../message/index.ts'
import type { WireError } from '../protocol/index.ts'
import { AnswerWatch } from './answer-watch.ts'
import type { FromSession, ToSession } from './messages.ts'

/** A way from a session to the engine, in this thread or over a socket. */
export interface SessionLink {
  send(frame: Uint8Array): void
  /** The user's thread took what lay in its port. */
  drained(): void
  /** Ends it after what was sent; `onClosed` is not called. */
  close(): void
}

/** An owner elsewhere answers every beat; one that does not for so long is stopped, or drowning. */
const answerPatienceMs = 2_000

export interface LocalSessionEvents {
  readonly onBye: (session: LocalSession) => void
  readonly onLockMs: (lockMs: number) => void
}

/**
 * The broker thread's end of one session of this process.
 *
 * ```
 * waiting ── connected(link) ──> offered ── start(generation) ──> flowing
 *    ^                              │                                │
 *    └────────────── disconnected ──┴────────────────────────────────┘
 * ```
 * While `offered`, what the user's thread sends was meant for the connection before and is dropped.
 */
export class LocalSession {
  readonly mayHost: boolean
  readonly #port: MessagePort
  readonly #events: LocalSessionEvents
  #link: SessionLink | undefined
  #generation = 0
  #flowing = false
  #sentBytes = 0
  #takenBytes = 0
  #ownerPid = 0
  /** Of a link to another process: an engine in this thread cannot be silent without it. */
  #watch: AnswerWatch | undefined
  readonly #clock: Clock

  constructor(port: MessagePort, mayHost: boolean, clock: Clock, events: LocalSessionEvents) {
    this.#clock = clock
    this.#port = port
    this.mayHost = mayHost
    this.#events = events
    port.on('message', (message: ArrayBufferLike | number | FromSession) => this.#receive(message))
    port.on('close', () => events.onBye(this))
  }

  get linked(): boolean {
    return this.#link !== undefined
  }

  connected(link: SessionLink, owner: { pid: number; hostedHere: boolean }): void {
    this.#link = link
    this.#flowing = false
    this.#generation++
    this.#ownerPid = owner.pid
    this.#watch = owner.hostedHere ? undefined : this.#watchOwner()
    this.#post({ as: 'up', generation: this.#generation, ownerPid: owner.pid, hostedHere: owner.hostedHere })
  }

  #watchOwner(): AnswerWatch {
    return new AnswerWatch({
      clock: this.#clock,
      patienceMs: answerPatienceMs,
      onSilent: silentMs => this.#post({ as: 'silent', ownerPid: this.#ownerPid, silentMs: Math.round(silentMs) }),
      onHeard: () => this.#post({ as: 'heard' }),
    })
  }

  disconnected(): void {
    if (this.#link === undefined) return
    this.#link = undefined
    this.#flowing = false
    this.#watch?.close()
    this.#post({ as: 'down' })
  }

  trouble(error: WireError, weight: 'passing' | 'final'): void {
    this.#post({ as: 'trouble', error, final: weight === 'final' })
  }

  /** From the engine to the user's thread. The buffer is transferred. */
  deliver(frame: Uint8Array<ArrayBuffer>): void {
    this.#watch?.heard()
    this.#sentBytes += frame.byteLength
    // A frame is a whole buffer or the front of one; only then may it travel bare.
    const buffer = frame.byteLength === frame.buffer.byteLength ? frame.buffer : frame.slice().buffer
    this.#port.postMessage(buffer, [buffer])
  }

  /** Bytes that lie in the port because the user's event loop has not come to them. */
  get queuedBytes(): number {
    return this.#sentBytes - this.#takenBytes
  }

  /** Sends a beat of the thread's own, or its goodbye in the name of a stuck event loop. Both are answered. */
  inject(frame: Uint8Array<ArrayBuffer>): void {
    if (!this.#flowing) return
    this.#watch?.asked()
    this.#link?.send(frame)
  }

  /** Ends the link from this side; the session waits for the next one. */
  cut(): void {
    this.#link?.close()
    this.disconnected()
  }

  close(): void {
    this.#watch?.close()
    this.#link?.close()
    this.#link = undefined
    this.#port.close()
  }

  #receive(message: ArrayBufferLike | number | FromSession): void {
    if (message instanceof SharedArrayBuffer || message instanceof ArrayBuffer) {
      if (this.#flowing) this.#link?.send(new Uint8Array(message))
    } else if (typeof message === 'number') {
      this.#takenBytes += message
      this.#link?.drained()
    } else if (message.as === 'start') {
      if (message.generation === this.#generation && this.#link !== undefined) this.#flowing = true
    } else if (message.as === 'lock-ms') {
      this.#events.onLockMs(message.lockMs)
    } else this.#events.onBye(this)
  }

  #post(message: ToSession): void {
    this.#port.postMessage(message, [])
  }
}
