import { BuzzerError } from '../../message/index.ts'
import {
  ByteReader,
  ByteWriter,
  type Hello,
  type KeptDelivery,
  oldestServedProtocolVersion,
  protocolVersion,
  toWireError,
  type Welcome,
  writeAppended,
  writeFailure,
  writeGoodbye,
  writeWelcome,
} from '../protocol/index.ts'
import { mark } from '../storage/chunk-format.ts'
import type { Core } from './core.ts'
import type { EngineConnection } from './engine.ts'
import { dropReads } from './log-reads.ts'
import { readRecord } from './message-life.ts'
import { packRefusals, unpackRefusals } from './refusals.ts'
import { endReclaim } from './reload.ts'
import type { Receiver, Session } from './session.ts'
import { endDelivery, endDeliveries } from './settle.ts'

export function newSession(core: Core, connection: EngineConnection): Session {
  return {
    id: '',
    protocolVersion,
    connection,
    local: connection.local,
    frames: [],
    out: new ByteWriter(),
    lastSend: 0,
    lastAppend: 0,
    appendsHeard: 0,
    refused: [],
    acks: 0,
    toldSends: 0,
    toldAcks: 0,
    heardAt: core.monotonic,
    dirty: false,
    saidBye: false,
    goneAt: Number.POSITIVE_INFINITY,
    receivers: new Map(),
    watches: new Map(),
    reads: new Map(),
    changed: new Set(),
    condemned: undefined,
  }
}

/**
 * The first item of a connection. Returns the session it belongs to: the given one, or the one that comes back.
 * A refused client gets a failure of request 0, then its connection ends.
 */
export function greet(core: Core, fresh: Session, hello: Hello): Session {
  const { connection } = fresh
  if (connection === undefined || fresh.id !== '') return fresh
  if (hello.protocolVersion < oldestServedProtocolVersion || hello.protocolVersion > protocolVersion) {
    const error = new BuzzerError(
      'BUZZER_PROTOCOL_MISMATCH',
      `this process speaks protocol ${hello.protocolVersion} (buzzer ${hello.packageVersion}), the broker's owner speaks ${protocolVersion}. Update the older of the two`,
      { details: { client: hello.protocolVersion, engine: protocolVersion } },
    )
    writeFailure(fresh.out, 0, toWireError(error))
    connection.send(fresh.out.take())
    fresh.connection = undefined
    connection.close(error)
    return fresh
  }
  const known = core.sessions.get(hello.sessionId)
  const session = known ?? fresh
  let returned = false
  if (known === undefined) {
    fresh.id = hello.sessionId
    core.sessions.set(fresh.id, fresh)
    // A file that was put back from a backup knows less than the client.
    fresh.lastAppend = Math.max(core.logs.notes.lastAppend(fresh.id), hello.appendsAnsweredThrough ?? 0)
    const row = core.sessionRows.get(fresh.id)
    if (row !== undefined) {
      returned = row.isAwaited
      fresh.lastSend = row.lastSend
      fresh.refused = unpackRefusals(row.refused)
    }
  } else {
    known.connection?.close()
    known.connection = connection
    known.out.rewind(0)
    known.acks = 0
    known.watches.clear()
    dropReads(core, known)
    known.changed.clear()
    for (const receiver of known.receivers.values()) receiver.state = 'paused'
  }
  session.protocolVersion = hello.protocolVersion
  session.goneAt = Number.POSITIVE_INFINITY
  session.heardAt = core.monotonic
  session.dirty = true
  core.agenda.watchAt(core.monotonic + core.options.lockMs / 5)
  session.refused = session.refused.filter(({ sequence }) => sequence > hello.answeredThrough)
  session.toldSends = session.lastSend
  session.toldAcks = 0
  const welcome: Welcome = {
    protocolVersion: hello.protocolVersion,
    epoch: core.file.epoch,
    ownerPid: core.options.ownerPid,
    lockMs: core.options.lockMs,
    maxMessageBytes: core.options.maxMessageBytes,
    durability: core.options.durability,
    sendsThrough: session.lastSend,
    appendsThrough: session.lastAppend,
    refused: session.refused,
    kept: keep(core, session, hello.open),
  }
  writeWelcome(session.out, welcome)
  if (hello.appendsAnsweredThrough !== undefined) repeatAnswers(core, session, hello.appendsAnsweredThrough)
  if (returned && !session.local && core.reclaiming && --core.expectedSessions <= 0) endReclaim(core, 'all-returned')
  return session
}

/** The answers to appends that the client has not heard. */
function repeatAnswers(core: Core, session: Session, heard: number): void {
  if (session.lastAppend <= heard) return
  core.writeLogs()
  for (const answers of core.logs.notes.answers(session.id, heard)) {
    const reader = new ByteReader(answers)
    while (reader.at < reader.end) {
      const sequence = reader.f64()
      const length = reader.u32()
      const start = reader.skip(length)
      if (sequence > heard) writeAppended(session.out, sequence, reader.bytes.subarray(start, start + length))
    }
  }
}

/** The deliveries a returning client still holds. Those it does not name never reached it: they are released. */
function keep(core: Core, session: Session, open: readonly KeptDelivery[]): { token: number; newToken: number }[] {
  const kept: { token: number; newToken: number }[] = []
  const named = new Set<number>()
  for (const delivery of open) {
    let slot = core.deliveries.find(delivery.token, session)
    if (slot < 0 && core.reclaiming) slot = claim(core, session, delivery)
    if (slot < 0) continue
    named.add(slot)
    kept.push({ token: delivery.token, newToken: core.deliveries.token(slot) })
  }
  for (const slot of core.deliveries.slots(receiver => receiver.session === session)) {
    if (!named.has(slot)) endDelivery(core, slot, 'release', 0)
  }
  return kept
}

/** A delivery of the owner before, if the file says that it is open and nobody else has it. Returns its slot or -1. */
function claim(core: Core, session: Session, delivery: KeptDelivery): number {
  const queue = core.queues.get(delivery.queue)
  const place = queue?.place(delivery.sequence)
  if (queue === undefined || place === undefined) return -1
  const { chunk, index } = place
  const word = chunk.marks[index] as number
  if ((word & mark.open) === 0 || word & mark.ours || (word & mark.attempts) !== delivery.attempt) return -1
  chunk.marks[index] = word | mark.ours
  chunk.open++
  if ((word & mark.deaths) >= 2 * mark.deathUnit) queue.suspectsOpen++
  let receiver = session.receivers.get(delivery.receiverId)
  if (receiver === undefined || receiver.queue !== queue) {
    receiver = {
      id: delivery.receiverId,
      session,
      queue,
      of: 'messages',
      maxInFlight: 0,
      inFlight: 0,
      state: 'paused',
    } satisfies Receiver
    session.receivers.set(receiver.id, receiver)
  }
  const record = readRecord(core, chunk, index)
  return core.deliveries.find(core.deliveries.add(receiver, chunk, index, record.end - record.start), session)
}

/** Takes a receiver out of its queue; what it has open stays open. */
export function detachReceiver(core: Core, receiver: Receiver): void {
  receiver.state = 'ended'
  const { queue } = receiver
  const list = receiver.of === 'messages' ? queue.receivers : queue.deadReceivers
  const at = list.indexOf(receiver)
  if (at >= 0) list.splice(at, 1)
  queue.usedAt = core.monotonic
  if (receiver.session.receivers.get(receiver.id) === receiver) receiver.session.receivers.delete(receiver.id)
}

/** The session is over: `release` after a goodbye, `session-ended` when its process died. */
export function endSession(core: Core, session: Session, ending: 'release' | 'session-ended'): void {
  for (const receiver of session.receivers.values()) detachReceiver(core, receiver)
  endDeliveries(core, session, ending, () => true)
  session.watches.clear()
  dropReads(core, session)
  if (ending === 'session-ended' && session.id !== '') {
    // Its sends stay known, but after a takeover nobody waits for it.
    core.file.begin()
    const row = { lastSend: session.lastSend, refused: packRefusals(session.refused) }
    core.sessionRows.put(session.id, row, 'gone', core.now)
  }
  if (core.sessions.get(session.id) === session) core.sessions.delete(session.id)
}

export function sayGoodbye(core: Core, session: Session): void {
  session.saidBye = true
  endSession(core, session, 'release')
  core.file.begin()
  core.sessionRows.delete(session.id)
  if (session.lastAppend > 0) core.logs.notes.forgetSession(session.id)
  session.dirty = false
  writeGoodbye(session.out)
}

/** The process is there but stuck: its deliveries go to others. */
export function forfeit(core: Core, session: Session): void {
  // It gets nothing new either: its connection ends next.
  for (const receiver of session.receivers.values()) receiver.state = 'paused'
  endDeliveries(core, session, 'lock-lost', () => true)
}
