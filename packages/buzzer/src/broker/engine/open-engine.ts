import { writeCommitted } from '../protocol/index.ts'
import { BrokerFile, fileDamaged, fileError, isDiskFull } from '../storage/broker-file.ts'
import { compact } from './compact.ts'
import { Core } from './core.ts'
import { dispatch } from './dispatch.ts'
import { bringDue, bringExpiry, followClock, readNextExpiry } from './due.ts'
import type { Engine, EngineConnection, EngineOptions, EngineSession, EngineStats } from './engine.ts'
import { Link, type Undo } from './link.ts'
import { forget, sweep } from './log-keeping.ts'
import { serveReads, wakeReads } from './log-reads.ts'
import type { Queue } from './queue.ts'
import { condemn, PoisonedStep } from './poisoned-step.ts'
import { packRefusals } from './refusals.ts'
import { relinkDeliveries, reload } from './reload.ts'
import { newSession } from './sessions.ts'
import type { Group } from './settle.ts'
import { engineStats } from './stats.ts'
import { lookAround, watchReclaim } from './watch-round.ts'
import { announceChanges } from './watching.ts'

/** A connection that has so many unsent bytes reads nothing and only asks: it is cut. */
const maxBufferedBytes = 64 * 1024 * 1024
/** Sends are tried again so long after the disk was full. */
const diskFullMs = 1_000
/** Without work for so long the write-ahead file is emptied and free pages are given back. */
const restMs = 1_000
/** Between two steps of tidying up. */
const restStepMs = 10
/** Free pages are given back in steps of about this time. */
const tidyStepMs = 10
const fewestTidyPages = 32
const mostTidyPages = 2_048
/** Sessions that never came back are forgotten after so long. */
const sessionKeptMs = 7 * 24 * 3_600_000

/**
 * Opens the file, recovers it and serves. The caller holds the owner lock.
 * @throws BUZZER_FILE_DAMAGED, BUZZER_FILE_TOO_NEW, BUZZER_NOT_A_BROKER_FILE, BUZZER_BROKER_FAILED, BUZZER_UNSUPPORTED
 */
export function openEngine(options: EngineOptions): Engine {
  const file = new BrokerFile(options)
  let core: Core | undefined
  try {
    core = new Core(options, file)
    recover(core)
    return new RunningEngine(core)
  } catch (error) {
    core?.agenda.disarm()
    closeFailed(file, options)
    throw unreadable(error) ? fileDamaged(error, options.path) : fileError(error, options.path)
  }
}

/** What went wrong before is what counts. */
function closeFailed(file: BrokerFile, { report }: EngineOptions): void {
  try {
    file.close()
  } catch (error) {
    report('warn', { error }, 'the file did not close cleanly')
  }
}

/** Whether it is the file's contents that make no sense: nothing else goes into a recovery. */
function unreadable(error: unknown): boolean {
  return error instanceof SyntaxError || error instanceof RangeError || error instanceof TypeError
}

/** Reads what the owner before left. */
function recover(core: Core): void {
  core.file.begin()
  core.sessionRows.dropOlderThan(core.now - sessionKeptMs)
  core.logs.notes.forgetLostSessions()
  core.chunks.capHeld(core.now)
  core.expectedSessions = core.sessionRows.remoteCount()
  core.reclaiming = core.expectedSessions > 0
  core.reclaimUntil = core.monotonic + core.options.reclaimMs
  reload(core)
  watchReclaim(core)
  core.file.commit()
  core.agenda.nextRest = core.monotonic + restMs
  core.agenda.arm(core.now, core.monotonic)
}

class RunningEngine implements Engine {
  readonly #core: Core
  readonly #connections = new Set<Link>()
  #closed = false
  #pumping = false

  constructor(core: Core) {
    this.#core = core
  }

  get epoch(): number {
    return this.#core.file.epoch
  }

  connect(connection: EngineConnection): EngineSession {
    const link = new Link(this.#core, newSession(this.#core, connection), this.#core.options.onWork)
    this.#connections.add(link)
    return link
  }

  pump(): void {
    if (this.#closed || this.#pumping) return
    this.#pumping = true
    const core = this.#core
    const undo: Undo[] = []
    try {
      const jump = core.readClock()
      try {
        this.#transactWhole(undo, jump)
      } catch (error) {
        if (!isDiskFull(error)) throw error
        this.#makeRoom(undo, jump)
      }
      this.#afterCommit()
    } catch (error) {
      this.#fail(error)
    } finally {
      this.#pumping = false
    }
  }

  /** As `#transact`, again without each step that fails in the middle. */
  #transactWhole(undo: Undo[], jump: number): void {
    for (;;) {
      try {
        return this.#transact(undo, jump)
      } catch (error) {
        if (!(error instanceof PoisonedStep)) throw error
        const { session, step, cause } = error
        this.#core.options.report(
          'error',
          { error: cause, session: session.id, step },
          'a step of a client was refused',
        )
        condemn(error)
        this.#rollBack(undo.splice(0))
      }
    }
  }

  /** Everything that has come, in one transaction. */
  #transact(undo: Undo[], jump: number): void {
    const core = this.#core
    this.#groupsBefore = new Map(
      Array.from(core.groups, ([id, { size, members }]) => [id, { size, members: [...members] }]),
    )
    const { sent, settled } = core.counters
    core.pendingBytes = 0
    followClock(core, jump)
    for (const link of this.#connections) link.takeFrames(undo)
    lookAround(core)
    core.finishChunks()
    bringDue(core)
    const expired = bringExpiry(core)
    core.finishChunks()
    const resting = core.monotonic >= core.agenda.nextRest
    if (core.sparse.size > 0) compact(core, resting)
    let more = false
    for (const queue of core.toDispatch) {
      core.toDispatch.delete(queue)
      if (dispatch(core, queue)) {
        this.#dispatchAgain.push(queue)
        more = true
      }
    }
    for (const queue of this.#dispatchAgain.splice(0)) core.toDispatch.add(queue)
    core.writeChunks()
    core.writeLogs()
    forget(core, core.logsGrown)
    if (sweep(core)) more = true
    core.writeLogs()
    if (expired) readNextExpiry(core)
    this.#writeSessions()
    announceChanges(core)
    if (core.file.inTransaction) {
      const startedAt = core.options.clock.monotonic()
      core.file.commit()
      core.counters.commits++
      const batch = core.counters.sent + core.counters.settled - sent - settled
      core.counters.largestBatch = Math.max(core.counters.largestBatch, batch)
      core.counters.commitMs += core.options.clock.monotonic() - startedAt
      core.agenda.nextRest = core.monotonic + (resting && core.sparse.size > 0 ? restStepMs : restMs)
    }
    core.deliveries.confirm()
    core.settleChunks()
    if (more) core.options.onWork()
  }

  #tidyPages = 4 * fewestTidyPages
  readonly #dispatchAgain: Queue[] = []
  #groupsBefore = new Map<string, Group>()

  #writeSessions(): void {
    const core = this.#core
    for (const session of core.sessions.values()) {
      if (!session.dirty) continue
      session.dirty = false
      core.file.begin()
      const row = { lastSend: session.lastSend, refused: packRefusals(session.refused) }
      core.sessionRows.put(session.id, row, session.local ? 'local' : 'remote', core.now)
    }
  }

  /**
   * The disk is full and the transaction rolled back. The memory is built from the file again, the ballast goes, and the
   * same frames are taken once more with sends refused: settlements get the room.
   */
  #makeRoom(undo: Undo[], jump: number): void {
    const core = this.#core
    core.options.report('error', { path: core.options.path }, 'the disk is full: sends are refused, deliveries go on')
    core.diskFullUntil = core.monotonic + diskFullMs
    this.#rollBack(undo)
    core.file.releaseReserve()
    const again: Undo[] = []
    try {
      this.#transactWhole(again, jump)
    } catch (error) {
      if (!isDiskFull(error)) throw error
      // Not even settlements fit: they stay in memory and are tried again.
      this.#rollBack(again)
      core.agenda.retryAt = core.monotonic + diskFullMs / 2
    }
  }

  #rollBack(undo: readonly Undo[]): void {
    const core = this.#core
    core.file.rollback()
    core.dropChanges()
    core.deliveries.undo()
    for (const link of this.#connections) link.session.out.rewind(0)
    core.groups.clear()
    for (const slot of core.deliveries.slots(() => true)) core.deliveries.setGroup(slot, undefined)
    for (const [id, group] of this.#groupsBefore) {
      core.groups.set(id, group)
      for (const { slot } of group.members) core.deliveries.setGroup(slot, id)
    }
    for (const { link, session, id, frames, lastSend, refused, acks, lastAppend } of undo) {
      if (id === '') {
        // Its hello will be heard again.
        if (core.sessions.get(session.id) === session) core.sessions.delete(session.id)
        if (link.session !== session) link.session.connection = undefined
        session.id = ''
        link.session = session
      }
      session.frames = [...frames, ...session.frames]
      session.lastSend = lastSend
      session.refused.length = Math.min(session.refused.length, refused)
      session.acks = acks
      session.lastAppend = lastAppend
    }
    reload(core)
    relinkDeliveries(core)
  }

  /** The commit is in the file: now, and not before, the answers leave. */
  #afterCommit(): void {
    const core = this.#core
    for (const act of core.afterCommit.splice(0)) act()
    for (const write of core.answersBeside.splice(0)) write()
    for (const { stream, partition } of core.logsGrown) wakeReads(core, stream.name, partition)
    core.logsGrown.clear()
    serveReads(core)
    for (const link of this.#connections) {
      const { session } = link
      const { connection } = session
      if (link.over) this.#connections.delete(link)
      if (link.over || connection === undefined) continue
      if (session.lastSend > session.toldSends || session.acks > session.toldAcks) {
        writeCommitted(session.out, session.lastSend, session.acks)
        session.toldSends = session.lastSend
        session.toldAcks = session.acks
      }
      session.condemned = undefined
      if (session.out.length === 0) continue
      connection.send(session.out.take())
      if (connection.bufferedBytes > maxBufferedBytes) link.cut()
    }
    if (core.file.checkpointIfDue(core.writtenBytes)) core.writtenBytes = 0
    if (core.monotonic >= core.agenda.nextRest) this.#rest()
    if (core.agenda.retryAt <= core.monotonic) core.agenda.retryAt = Number.POSITIVE_INFINITY
    core.agenda.arm(core.now, core.monotonic)
  }

  #rest(): void {
    const core = this.#core
    const { clock } = core.options
    const startedAt = clock.monotonic()
    const state = core.file.tidy(this.#tidyPages)
    // What comes meanwhile waits for it, and what a page costs depends on where it lies.
    const tookMs = clock.monotonic() - startedAt
    if (tookMs > 2 * tidyStepMs) this.#tidyPages = Math.max(fewestTidyPages, this.#tidyPages >> 1)
    else if (tookMs < tidyStepMs) this.#tidyPages = Math.min(mostTidyPages, this.#tidyPages << 1)
    core.writtenBytes = 0
    core.agenda.nextRest =
      state === 'done' ? Number.POSITIVE_INFINITY : core.monotonic + (state === 'more' ? restStepMs : restMs)
    if (state === 'done' && core.monotonic >= core.diskFullUntil) core.file.restoreReserve()
  }

  /** A failed commit is never tried again: what the kernel has forgotten a second sync would not write (spec broker 9). */
  #fail(cause: unknown): void {
    const core = this.#core
    const error = fileError(cause, core.options.path)
    this.#closed = true
    core.agenda.disarm()
    for (const link of this.#connections) link.cut(error)
    this.#connections.clear()
    closeFailed(core.file, core.options)
    core.options.onFailed(error)
  }

  stats(): EngineStats {
    return engineStats(this.#core)
  }

  close(): void {
    if (this.#closed) return
    this.pump()
    if (this.#closed) return
    this.#closed = true
    const core = this.#core
    core.agenda.disarm()
    for (const link of this.#connections) link.cut()
    this.#connections.clear()
    try {
      // While sessions of the owner before are still awaited, what they held is not this one's to hand over.
      if (core.deliveries.open > 0 && !core.reclaiming) core.file.noteHandover()
      while (core.file.tidy() === 'more');
    } catch (error) {
      core.options.report('warn', { error }, 'the file could not be tidied up at the end')
    }
    core.file.close()
  }
}
