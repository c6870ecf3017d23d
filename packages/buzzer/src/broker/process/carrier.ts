import { randomUUID } from 'node:crypto'
import type { Clock } from '../../message/index.ts'
import { BuzzerError } from '../../message/index.ts'
import { type BrokerPath, prepareBrokerPath } from './broker-path.ts'
import type { Engine } from '../engine/engine.ts'
import { EngineServer } from './engine-server.ts'
import { LocalSession } from './local-session.ts'
import { toWireError, type WireError } from '../protocol/index.ts'
import type { FromBrokerThread } from './messages.ts'
import { OwnerLock, type OwnerRecord } from './owner-lock.ts'
import { connectToOwner } from './remote-engine.ts'
import { socketAddress } from './socket-address.ts'
import type { MessagePort } from 'node:worker_threads'

export interface CarrierOptions {
  readonly path: string
  readonly clock: Clock
  /** Opens the engine. Called only while the owner lock is held. */
  openEngine(file: string, onFailed: (error: unknown) => void): Engine
  readonly tell: (message: FromBrokerThread) => void
  /** The owner elsewhere was given another `lockMs`. */
  readonly onLockMs: (lockMs: number) => void
  /** The last session left; everything is closed and handed over. */
  readonly onEmpty: () => void
}

interface Hosting {
  readonly engine: Engine
  readonly server: EngineServer
}

/** Between two looks for the owner, while there is none or it does not answer. */
const searchMs = 10
/** After so long without an owner there is no hurry: nobody is about to take over. */
const patientAfterMs = 5_000
const patientSearchMs = 100
/** After a failed engine, before a fresh open: others may go first. Doubles with each failure in a row. */
const reopenMs = 250
const longestReopenMs = 5_000

/**
 * Carries the sessions of this process to the one engine of the file, wherever it lives.
 *
 * ```
 *              lock taken                      last session left, or engine failed
 * searching ───────────────> hosting ──────────────────────────────────────────> (closed | searching)
 *     ^  │ lock held elsewhere
 *     │  └──> joining ── connected ──> joined
 *     │          │ refused                │ connection lost
 *     └──────────┴───────────────────────┘
 * ```
 * Sessions are linked one by one, so one broken connection disturbs only its own. Source: spec broker 7.
 */
export class Carrier {
  readonly #options: CarrierOptions
  readonly #sessions = new Set<LocalSession>()
  readonly #joining = new Set<LocalSession>()
  #path: BrokerPath | undefined
  #lock: OwnerLock | undefined
  #hosting: Hosting | undefined
  #searchTimer: unknown
  #searchingSince: number | undefined
  #searching = false
  #closed = false
  #stalled = false
  /** Failures in a row, and when the next try may be. */
  #failures = 0
  #notBefore = 0

  constructor(options: CarrierOptions) {
    this.#options = options
  }

  attach(port: MessagePort, mayHost: boolean): void {
    // It came while the thread ends: its owner finds the port closed, and begins anew with another thread.
    if (this.#closed) return port.close()
    const session = new LocalSession(port, mayHost, this.#options.clock, {
      onBye: left => this.#leave(left),
      onLockMs: this.#options.onLockMs,
    })
    this.#sessions.add(session)
    this.#search()
  }

  /** Sends the same frame on every link, from this thread. */
  inject(makeFrame: () => Uint8Array<ArrayBuffer>): void {
    for (const session of this.#sessions) session.inject(makeFrame())
  }

  /** The user's event loop gave no sign for too long: its sessions end, and their messages go to others. */
  stall(makeGoodbye: () => Uint8Array<ArrayBuffer>): void {
    this.#stalled = true
    this.inject(makeGoodbye)
    for (const session of this.#sessions) session.cut()
  }

  /**
   * This process stood still for longer than locks last. Connections to another process begin anew, before what was sent
   * over them meanwhile is read: it is void. Nothing happened to an engine in here: it stood still too. Says which.
   */
  stoodStill(): boolean {
    if (this.#hosting !== undefined) return false
    for (const session of this.#sessions) session.cut()
    this.#search()
    return true
  }

  /** The loop turns again. */
  resume(): void {
    if (!this.#stalled) return
    this.#stalled = false
    this.#search()
  }

  #search(): void {
    if (this.#closed || this.#searching) return
    const { clock } = this.#options
    clock.clearTimeout(this.#searchTimer)
    const now = clock.monotonic()
    if (now < this.#notBefore) {
      this.#searchTimer = clock.setTimeout(() => this.#search(), this.#notBefore - now)
      return
    }
    this.#searching = true
    this.#searchingSince ??= now
    void this.#searchOnce()
      .catch(error => this.#report(error))
      .finally(() => {
        this.#searching = false
        this.#searchAgain()
      })
  }

  #searchAgain(): void {
    if (this.#closed || this.#stalled) return
    if (!this.#unlinked().some(session => !this.#joining.has(session))) {
      if (this.#unlinked().length === 0) this.#searchingSince = undefined
      return
    }
    const { clock } = this.#options
    const waitedMs = clock.monotonic() - (this.#searchingSince ?? clock.monotonic())
    this.#searchTimer = clock.setTimeout(() => this.#search(), waitedMs > patientAfterMs ? patientSearchMs : searchMs)
  }

  #unlinked(): LocalSession[] {
    return [...this.#sessions].filter(session => !session.linked)
  }

  async #searchOnce(): Promise<void> {
    if (this.#stalled) return
    if (this.#hosting === undefined) {
      const path = (this.#path ??= prepareBrokerPath(this.#options.path))
      const lock = (this.#lock ??= new OwnerLock(path.ownerFile))
      const mayHost = [...this.#sessions].some(session => session.mayHost)
      const record = { token: randomUUID(), pid: process.pid, address: socketAddress(path) }
      if (mayHost && lock.tryTake(record)) await this.#host(path, lock, record)
      else await this.#join(lock.read())
    }
    if (this.#hosting !== undefined) for (const session of this.#unlinked()) this.#serve(session, this.#hosting.engine)
  }

  async #host(path: BrokerPath, lock: OwnerLock, record: OwnerRecord): Promise<void> {
    let engine: Engine | undefined
    try {
      const startedAt = this.#options.clock.monotonic()
      engine = this.#options.openEngine(path.file, error => this.#engineFailed(error))
      const server = new EngineServer(engine)
      this.#hosting = { engine, server }
      await server.listen(record.address)
      const tookMs = Math.round(this.#options.clock.monotonic() - startedAt)
      this.#log('info', 'this process hosts the broker', { path: path.file, tookMs })
      this.#failures = 0
    } catch (error) {
      this.#hosting = undefined
      closeQuietly(engine)
      lock.release()
      throw error
    }
  }

  #serve(session: LocalSession, engine: Engine): void {
    const end = engine.connect({
      local: true,
      send: frame => session.deliver(frame),
      get bufferedBytes() {
        return session.queuedBytes
      },
      close: error => {
        session.disconnected()
        if (error !== undefined) session.trouble(toWireError(error), 'passing')
        // Not at once: the engine may be failing as a whole, which it tells next.
        queueMicrotask(() => this.#search())
      },
    })
    session.connected(
      {
        send: frame => end.receive(frame),
        drained: () => end.drained(),
        close: () => end.disconnected(),
      },
      { pid: process.pid, hostedHere: true },
    )
  }

  /** Connects every session that has no link. One that cannot is tried again by the next search. */
  async #join(owner: OwnerRecord | undefined): Promise<void> {
    if (owner === undefined) return
    await Promise.all(
      this.#unlinked().map(async session => {
        this.#joining.add(session)
        try {
          const link = await connectToOwner(owner.address, {
            queuedBytes: () => session.queuedBytes,
            onFrame: frame => session.deliver(frame),
            onClosed: () => {
              session.disconnected()
              this.#search()
            },
          })
          if (!this.#sessions.has(session)) link.close()
          else session.connected(link, { pid: owner.pid, hostedHere: false })
        } catch (error) {
          if (!isAway(error)) throw refusedByOwner(owner, error)
        } finally {
          this.#joining.delete(session)
        }
      }),
    )
  }

  #report(error: unknown): void {
    const plain = toWireError(error)
    this.#wait()
    if (plain.retryable) for (const session of this.#unlinked()) session.trouble(plain, 'passing')
    this.#log('error', 'the broker cannot be reached or opened', { error: plain.message, code: plain.code })
    if (!plain.retryable) this.#giveUp(plain)
  }

  /** What is senseless to try again is tried again only for a session that comes later. */
  #giveUp(error: WireError): void {
    for (const session of this.#unlinked()) {
      session.trouble(error, 'final')
      this.#sessions.delete(session)
      session.close()
    }
    if (this.#sessions.size === 0) this.#close()
  }

  /** The engine stops for good: the lock goes, so that another process, or later this one, tries a fresh open. */
  #engineFailed(error: unknown): void {
    if (this.#hosting === undefined) return
    const plain = toWireError(error)
    this.#log('error', 'the broker stopped: another process, or a fresh start, takes over', {
      error: plain.message,
      code: plain.code,
    })
    this.#endHosting()
    for (const session of this.#sessions) session.disconnected()
    // A damaged file opens again, and fails again where it is damaged.
    if (plain.code === 'BUZZER_FILE_DAMAGED') return this.#giveUp(plain)
    this.#wait()
    this.#search()
  }

  #wait(): void {
    const ms = Math.min(reopenMs * 2 ** this.#failures++, longestReopenMs)
    this.#notBefore = this.#options.clock.monotonic() + ms
  }

  #endHosting(): void {
    const hosting = this.#hosting
    this.#hosting = undefined
    if (hosting === undefined) return
    // The engine's last answers leave before the connections end.
    closeQuietly(hosting.engine)
    hosting.server.close()
    this.#lock?.release()
  }

  #leave(session: LocalSession): void {
    if (!this.#sessions.delete(session)) return
    session.close()
    if (this.#sessions.size === 0) this.#close()
  }

  #close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#options.clock.clearTimeout(this.#searchTimer)
    this.#endHosting()
    this.#lock?.release()
    this.#options.onEmpty()
  }

  #log(level: 'info' | 'warn' | 'error', message: string, fields: Record<string, unknown>): void {
    this.#options.tell({ as: 'log', level, fields, message })
  }
}

function closeQuietly(engine: Engine | undefined): void {
  try {
    engine?.close()
  } catch {
    // It failed before, and that was reported.
  }
}

/** Nobody listens there: the owner is dead, closing, or not yet listening. */
function isAway(error: unknown): boolean {
  const code = (error as { code?: string }).code
  return code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ECONNRESET' || code === 'EPIPE' || code === 'EAGAIN'
}

function refusedByOwner(owner: OwnerRecord, cause: unknown): BuzzerError {
  const code = (cause as { code?: string }).code ?? String(cause)
  return new BuzzerError(
    'BUZZER_DISCONNECTED',
    `the broker's owner, process ${owner.pid}, cannot be reached at ${owner.address} (${code}); all processes of one broker run as one user on one machine`,
    { retryable: false, cause, details: { ownerPid: owner.pid, address: owner.address } },
  )
}
