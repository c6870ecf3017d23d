import type { MessagePort } from 'node:worker_threads'
import type { BuzzerError, Clock } from '../../message/index.ts'
import { openSession, type SessionPort, type SessionRequest } from '../process/broker-thread.ts'
import type { FromSession, ToSession } from '../process/messages.ts'
import { silentMs, stopCount } from '../process/pulse.ts'
import { fromWireError } from '../protocol/index.ts'

/** Taken bytes that are told to the broker thread together. */
const takenBytesTold = 128 * 1024
/** After the broker thread itself died. */
const reopenMs = 100

export interface EngineLineEvents {
  /** An engine is reached: say hello. */
  onUp(ownerPid: number): void
  onDown(): void
  onFrame(frame: Uint8Array): void
  /** The owner holds the connection and does not answer. */
  onSilent(ownerPid: number, silentMs: number): void
  /** It does again. */
  onHeard(): void
  /** There is no engine, and why. After a final one the line is closed. */
  onTrouble(error: BuzzerError, weight: 'passing' | 'final'): void
}

/** A session's way to the broker thread of its process: opens it, keeps it open, and keeps the process alive on demand. */
export class EngineLine {
  readonly #request: SessionRequest
  readonly #clock: Clock
  readonly #events: EngineLineEvents
  #session: SessionPort | undefined
  #up = false
  #wanted = true
  #reopening: unknown
  #takenBytes = 0
  #stops = 0
  #lockMs: number
  #referenced = true

  constructor(request: SessionRequest, clock: Clock, events: EngineLineEvents) {
    this.#request = request
    this.#lockMs = request.engine.lockMs
    this.#clock = clock
    this.#events = events
  }

  /** @throws BUZZER_INVALID_OPTION for a place that cannot hold a broker */
  open(): void {
    this.#session = openSession(this.#request)
    const { port } = this.#session
    port.on('message', (message: ArrayBuffer | ToSession) => this.#receive(message))
    port.on('close', () => this.#lost(port))
    if (!this.#referenced) port.unref()
  }

  /** Whether the process stood still beyond `lockMs` since the engine was reached: what was fetched is void. */
  stoodStill(): boolean {
    return this.noticedStop() || (this.#session !== undefined && silentMs(this.#session.pulse) > this.#lockMs)
  }

  /** As `stoodStill`, and its event loop beyond `stallMs`; only what the broker thread has noticed. Costs next to nothing. */
  noticedStop(): boolean {
    return this.#session !== undefined && stopCount(this.#session.pulse) !== this.#stops
  }

  get up(): boolean {
    return this.#up
  }

  /** The owner's term for locks, if it is shorter than this process's own: the broker thread then beats more often. */
  followLockMs(lockMs: number): void {
    this.#lockMs = Math.min(this.#request.engine.lockMs, lockMs)
    if (lockMs < this.#request.engine.lockMs) this.#tell({ as: 'lock-ms', lockMs })
  }

  /** Hands over a whole buffer as a frame; one that is not shared is transferred. */
  send({ buffer }: Uint8Array): void {
    this.#session?.port.postMessage(buffer, buffer instanceof ArrayBuffer ? [buffer] : [])
  }

  /** Whether this line keeps the process alive. */
  hold(hold: 'process' | 'nothing'): void {
    const referenced = hold === 'process'
    if (referenced === this.#referenced || !this.#wanted) return
    this.#referenced = referenced
    if (referenced) this.#session?.port.ref()
    else this.#session?.port.unref()
  }

  /** Ends the line after what was sent. For the last one of the process it resolves when the file is closed. */
  async close(): Promise<void> {
    this.#wanted = false
    this.#up = false
    this.#clock.clearTimeout(this.#reopening)
    this.#tell({ as: 'bye' })
    // The end itself is waited for, whatever was held before.
    this.#referenced = true
    this.#session?.port.ref()
    await this.#session?.closed
    this.#session = undefined
  }

  #tell(message: FromSession | number): void {
    this.#session?.port.postMessage(message, [])
  }

  #receive(message: ArrayBuffer | ToSession): void {
    if (message instanceof ArrayBuffer) {
      this.#takenBytes += message.byteLength
      if (this.#takenBytes >= takenBytesTold) {
        this.#tell(this.#takenBytes)
        this.#takenBytes = 0
      }
      if (this.#up) this.#events.onFrame(new Uint8Array(message))
      return
    }
    switch (message.as) {
      case 'up':
        if (!this.#wanted) return
        this.#up = true
        this.#stops = this.#session === undefined ? 0 : stopCount(this.#session.pulse)
        this.#tell({ as: 'start', generation: message.generation })
        return this.#events.onUp(message.ownerPid)
      case 'down':
        return this.#down()
      case 'silent':
        if (this.#up) this.#events.onSilent(message.ownerPid, message.silentMs)
        return
      case 'heard':
        if (this.#up) this.#events.onHeard()
        return
      case 'trouble':
        if (message.final) this.#wanted = false
        return this.#events.onTrouble(fromWireError(message.error), message.final ? 'final' : 'passing')
      default:
        message satisfies never
    }
  }

  #down(): void {
    if (!this.#up) return
    this.#up = false
    this.#events.onDown()
  }

  /** The broker thread ended under us: a fault of ours or a kill of the thread. A new one is started. */
  #lost(port: MessagePort): void {
    if (this.#session?.port !== port || !this.#wanted) return
    this.#session = undefined
    this.#down()
    this.#reopening = this.#clock.setTimeout(() => {
      try {
        if (this.#wanted) this.open()
      } catch (error) {
        this.#wanted = false
        this.#events.onTrouble(error as BuzzerError, 'final')
      }
    }, reopenMs)
  }
}
