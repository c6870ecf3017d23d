import { BuzzerError } from '../../message/index.ts'
import { type Request, toWireError, writeFailure, writeResult } from '../protocol/index.ts'
import { fatalCodes } from '../storage/broker-file.ts'
import { administer, deadOf } from './admin.ts'
import { answerBeside, type BesideRequest, isBeside } from './beside.ts'
import type { Core } from './core.ts'
import { pageInFirstLayout, readsFirstLayout } from './first-protocol.ts'
import type { PeekPage } from './peek.ts'
import { administerLog } from './log-admin.ts'
import { beginRead, endRead } from './log-reads.ts'
import { detachReceiver } from './sessions.ts'
import type { Receiver, Session } from './session.ts'
import { declare, findQueue } from './topology.ts'
import { unwatch, watch } from './watching.ts'

/** The value of a request that is answered by itself, after the commit. */
const answeredLater = Symbol('answered later')

/** Answers a request of a client, with its value or an error. */
export function answer(core: Core, session: Session, requestId: number, request: Request): void {
  if (isBeside(request)) answerBeside(core, session, requestId, request)
  else reply(session, requestId, () => perform(core, session, requestId, request))
}

function reply(session: Session, requestId: number, act: () => unknown): void {
  try {
    const value = act()
    if (value !== answeredLater) writeResult(session.out, requestId, value)
  } catch (error) {
    if (!(error instanceof BuzzerError) || fatalCodes.has(error.code)) throw error
    writeFailure(session.out, requestId, toWireError(error))
  }
}

type Performed = Exclude<Request, BesideRequest>

function perform(core: Core, session: Session, requestId: number, request: Performed): unknown {
  switch (request.call) {
    case 'declare':
      declare(core, request.topology, request.onConflict)
      return null
    case 'subscribe':
      subscribe(core, session, request.receiverId, request.queue, request.maxInFlight)
      return null
    case 'credit': {
      const receiver = session.receivers.get(request.receiverId)
      if (receiver !== undefined) {
        receiver.maxInFlight = checkMaxInFlight(request.maxInFlight)
        core.toDispatch.add(receiver.queue)
      }
      return null
    }
    case 'pause': {
      const receiver = session.receivers.get(request.receiverId)
      if (receiver !== undefined) receiver.state = 'paused'
      return null
    }
    case 'resume': {
      const receiver = session.receivers.get(request.receiverId)
      if (receiver !== undefined) {
        receiver.state = 'running'
        core.toDispatch.add(receiver.queue)
      }
      return null
    }
    case 'unsubscribe': {
      const receiver = session.receivers.get(request.receiverId)
      if (receiver !== undefined) detachReceiver(core, receiver)
      return null
    }
    case 'store-declare':
      core.file.begin()
      for (const collection of request.collections) core.records.declare(collection)
      return null
    case 'store-get':
      return core.records.get(request.collection, request.id, core.now)
    case 'store-query':
      return core.records.query(request.collection, request.where, request.page, core.now)
    case 'store-claim':
      core.file.begin()
      return core.records.claim(request.collection, request.due, core.now)
    case 'store-watch':
      watch(core, session, request.watchId, request.collection, request.id)
      return null
    case 'store-unwatch':
      unwatch(core, session, request.watchId)
      return null
    case 'log-read':
      beginRead(core, session, requestId, request)
      return answeredLater
    case 'log-unread':
      endRead(core, session, request.readId)
      return null
    case 'log-declare':
    case 'log-producer':
    case 'log-describe':
    case 'log-trim':
    case 'log-add-partitions':
    case 'log-alter':
    case 'log-delete':
      return administerLog(core, request)
    case 'sync':
      return null
    case 'admin': {
      const value = administer(core, request)
      return request.method === 'peek' && readsFirstLayout(session) ? pageInFirstLayout(value as PeekPage) : value
    }
    default:
      request satisfies never
      throw new BuzzerError('BUZZER_UNSUPPORTED', "the broker's owner does not know that call; update it", {
        details: { request },
      })
  }
}

function checkMaxInFlight(maxInFlight: number): number {
  if (Number.isInteger(maxInFlight) && maxInFlight >= 1) return maxInFlight
  throw new BuzzerError('BUZZER_INVALID_OPTION', `maxInFlight is ${maxInFlight}, expected a whole number from 1`, {
    details: { option: 'maxInFlight', value: maxInFlight },
  })
}

function subscribe(core: Core, session: Session, id: number, name: string, maxInFlight: number): void {
  checkMaxInFlight(maxInFlight)
  const deadQueue = deadOf(core, name)
  const queue = deadQueue ?? findQueue(core, name)
  const of = deadQueue === undefined ? 'messages' : 'dead-letters'
  let receiver: Receiver | undefined = session.receivers.get(id)
  if (receiver !== undefined && (receiver.queue !== queue || receiver.of !== of)) {
    detachReceiver(core, receiver)
    receiver = undefined
  }
  receiver ??= { id, session, queue, of, maxInFlight, inFlight: 0, state: 'running' }
  receiver.maxInFlight = maxInFlight
  receiver.state = 'running'
  session.receivers.set(id, receiver)
  const list = of === 'messages' ? queue.receivers : queue.deadReceivers
  if (!list.includes(receiver)) list.push(receiver)
  queue.usedAt = core.monotonic
  core.toDispatch.add(queue)
}
