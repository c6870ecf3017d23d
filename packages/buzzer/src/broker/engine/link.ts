import { BuzzerError } from '../../message/index.ts'
import { brokenFrame, type ClientFrameSink, readClientFrame, writeFailure } from '../protocol/index.ts'
import { fatalCodes, sqliteCode } from '../storage/broker-file.ts'
import type { Core } from './core.ts'
import type { EngineConnection, EngineSession } from './engine.ts'
import { acceptAppend, refuseAppend } from './log-append.ts'
import { dropReads, resumeReads } from './log-reads.ts'
import { PoisonedStep, poisonOr, verdictOn } from './poisoned-step.ts'
import { answer } from './requests.ts'
import { forfeit, greet, sayGoodbye } from './sessions.ts'
import type { Session } from './session.ts'
import { acceptSend, ack, refuseSend, settle } from './settle.ts'
import { unwatchAll } from './watching.ts'

/** What a frame did to its session and a rolled back transaction must undo. */
export interface Undo {
  readonly link: Link
  readonly session: Session
  /** '' before its hello. */
  readonly id: string
  readonly frames: Uint8Array[]
  readonly lastSend: number
  readonly refused: number
  readonly acks: number
  readonly lastAppend: number
}

/** One connection and the session behind it. */
export class Link implements EngineSession, ClientFrameSink {
  session: Session
  /** The connection is gone and its session does not need this link any more. */
  over = false
  readonly #core: Core
  readonly #onWork: () => void
  readonly #connection: EngineConnection
  readonly #waiting: Uint8Array[] = []

  constructor(core: Core, session: Session, onWork: () => void) {
    this.#core = core
    this.session = session
    this.#connection = session.connection as EngineConnection
    this.#onWork = onWork
  }

  receive(frame: Uint8Array): void {
    this.#waiting.push(frame)
    this.#onWork()
  }

  drained(): void {
    for (const receiver of this.session.receivers.values()) this.#core.toDispatch.add(receiver.queue)
    resumeReads(this.#core, this.session)
    this.#onWork()
  }

  disconnected(): void {
    const { session } = this
    this.over = true
    if (session.connection !== this.#connection) return
    session.connection = undefined
    unwatchAll(this.#core, session)
    dropReads(this.#core, session)
    for (const receiver of session.receivers.values()) receiver.state = 'paused'
    if (session.saidBye || session.id === '') return
    session.goneAt = this.#core.options.clock.monotonic() + (this.#core.options.returnMs ?? 60)
    this.#core.agenda.watchAt(session.goneAt)
    this.#onWork()
  }

  /** Ends the connection from this side. */
  cut(error?: BuzzerError): void {
    const { connection } = this.session
    if (connection === undefined || connection !== this.#connection) return
    this.disconnected()
    connection.close(error)
  }

  takeFrames(undo: Undo[]): void {
    const { session } = this
    const frames = [...session.frames, ...this.#waiting]
    if (frames.length === 0) return
    session.frames = []
    this.#waiting.length = 0
    session.heardAt = this.#core.monotonic
    for (const frame of frames) this.#core.pendingBytes += frame.length
    const { id, lastSend, acks, lastAppend } = session
    undo.push({ link: this, session, id, frames, lastSend, refused: session.refused.length, acks, lastAppend })
    for (const frame of frames) {
      try {
        readClientFrame(frame, this)
      } catch (error) {
        if (error instanceof PoisonedStep || sqliteCode(error) !== undefined) throw error
        if (error instanceof BuzzerError && fatalCodes.has(error.code)) throw error
        this.#core.options.report(
          'warn',
          { error, session: session.id },
          'a connection sent a broken frame and was closed',
        )
        this.cut(error instanceof BuzzerError ? error : brokenFrame(String(error)))
        return
      }
    }
  }

  #greeted(): boolean {
    if (this.session.id !== '' && !this.session.saidBye) return true
    throw new BuzzerError('BUZZER_PROTOCOL_MISMATCH', 'a connection must begin with a hello and end with a goodbye')
  }

  hello(hello: Parameters<ClientFrameSink['hello']>[0]): void {
    this.session = greet(this.#core, this.session, hello)
  }

  send(...[sequence, count, reader]: Parameters<ClientFrameSink['send']>): void {
    if (!this.#greeted()) return
    const { session } = this
    const verdict = verdictOn(session, `send ${sequence}`)
    if (verdict !== undefined) return refuseSend(session, sequence, verdict)
    try {
      acceptSend(this.#core, session, sequence, count, reader)
    } catch (error) {
      throw poisonOr(session, `send ${sequence}`, error)
    }
  }

  settle(...[requestId, token, head, count, reader]: Parameters<ClientFrameSink['settle']>): void {
    this.#answered(requestId, session => settle(this.#core, session, requestId, token, head, count, reader))
  }

  append(...[sequence, answeredThrough, reader]: Parameters<ClientFrameSink['append']>): void {
    if (!this.#greeted()) return
    const { session } = this
    const verdict = verdictOn(session, `append ${sequence}`)
    if (verdict !== undefined) return refuseAppend(this.#core, session, sequence, verdict)
    try {
      acceptAppend(this.#core, session, sequence, answeredThrough, reader)
    } catch (error) {
      throw poisonOr(session, `append ${sequence}`, error)
    }
  }

  ack(token: number): void {
    ack(this.#core, this.session, token)
  }

  request(...[requestId, request]: Parameters<ClientFrameSink['request']>): void {
    this.#answered(requestId, session => answer(this.#core, session, requestId, request))
  }

  /** A step with an answer of its own, which is a failure when it failed in the middle before. */
  #answered(requestId: number, act: (session: Session) => void): void {
    if (!this.#greeted()) return
    const { session } = this
    const verdict = verdictOn(session, `request ${requestId}`)
    if (verdict !== undefined) return writeFailure(session.out, requestId, verdict)
    try {
      act(session)
    } catch (error) {
      throw poisonOr(session, `request ${requestId}`, error)
    }
  }

  beat(answeredThrough: number): void {
    const { session } = this
    // Answered even when there is nothing new: another process tells a quiet owner from a stopped one by it.
    if (!session.local) session.toldAcks = -1
    if (session.refused.length > 0) {
      session.refused = session.refused.filter(({ sequence }) => sequence > answeredThrough)
    }
  }

  forfeit(): void {
    if (this.#greeted()) forfeit(this.#core, this.session)
  }

  bye(): void {
    if (this.#greeted()) sayGoodbye(this.#core, this.session)
  }
}
