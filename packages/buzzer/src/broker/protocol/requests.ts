import type { JsonValue } from '../../message/index.ts'
import type { ClaimRequest, CollectionDeclaration, IndexQuery, PageRequest } from '../../store/index.ts'
import type { MessageState, PeekedMessage, QueueLimits, ReadRequest, Topology } from '../../transport/index.ts'
import type { WireStream } from './log-frames.ts'
import { decodeMessage } from './message-record.ts'
import type { WireError } from './wire-error.ts'

/**
 * The version of the frames. A client of the version before is served too; any other is refused with
 * `BUZZER_PROTOCOL_MISMATCH`.
 *
 * - 2: event logs (log-frames.ts); records of messages have blocks of texts (text-block.ts). Clients of version 1 may send either layout and get the first.
 */
export const protocolVersion = 2
export const oldestServedProtocolVersion = 1

/** The first item of every connection. */
export interface Hello {
  readonly protocolVersion: number
  readonly packageVersion: string
  /** Made by the client, random, kept over reconnections. A session that said `bye` is not used again. */
  readonly sessionId: string
  /** For messages to people only. */
  readonly pid: number
  /** Epoch of the engine this session was last connected to; 0 at first. */
  readonly lastEpoch: number
  /** All sends up to here are answered at the client: the engine forgets their refusals. 0 at first. */
  readonly answeredThrough: number
  /** The same for appends. Since version 2. */
  readonly appendsAnsweredThrough?: number
  /** Deliveries the client holds and wants to keep, those with unconfirmed acks too. */
  readonly open: readonly KeptDelivery[]
}

export interface KeptDelivery {
  readonly token: number
  readonly receiverId: number
  readonly queue: string
  readonly sequence: number
  readonly attempt: number
}

/** The answer to `Hello`. Receivers and watches are gone after a reconnection: the client asks for them again. */
export interface Welcome {
  readonly protocolVersion: number
  readonly epoch: number
  readonly ownerPid: number
  readonly lockMs: number
  readonly maxMessageBytes: number
  readonly durability: 'fsync' | 'os'
  /** All sends of this session up to here are decided: committed, but for those in `refused`. Later ones are unknown to the file: send them again. */
  readonly sendsThrough: number
  readonly refused: readonly { readonly sequence: number; readonly error: WireError }[]
  /** All appends of this session up to here are decided; the answers that the client lacks follow as items. Since version 2. */
  readonly appendsThrough?: number
  /** The deliveries of `Hello.open` that are kept, each with its token from now on. What is not here is lost. */
  readonly kept: readonly { readonly token: number; readonly newToken: number }[]
}

/** Rare calls, as JSON. Each is answered with its value or an error, after the commit that holds its effect. */
export type Request =
  /** `onConflict` is the client's `onTopologyConflict`. */
  | { readonly call: 'declare'; readonly topology: Topology; readonly onConflict: 'refuse' | 'update' }
  /** Deliveries begin. The client chooses `receiverId`, an unsigned 32-bit number, unique in the session. */
  | { readonly call: 'subscribe'; readonly receiverId: number; readonly queue: string; readonly maxInFlight: number }
  | { readonly call: 'credit'; readonly receiverId: number; readonly maxInFlight: number }
  /** Once answered nothing more is delivered; what was is still open: the client releases what it has not begun. */
  | { readonly call: 'pause'; readonly receiverId: number }
  | { readonly call: 'resume'; readonly receiverId: number }
  /** As `pause`, for good. Open deliveries stay open until settled. */
  | { readonly call: 'unsubscribe'; readonly receiverId: number }
  | { readonly call: 'store-declare'; readonly collections: readonly CollectionDeclaration[] }
  | { readonly call: 'store-get'; readonly collection: string; readonly id: string }
  | {
      readonly call: 'store-query'
      readonly collection: string
      readonly where: IndexQuery
      readonly page?: PageRequest
    }
  | { readonly call: 'store-claim'; readonly collection: string; readonly due: ClaimRequest }
  | { readonly call: 'store-watch'; readonly watchId: number; readonly collection: string; readonly id: string }
  | { readonly call: 'store-unwatch'; readonly watchId: number }
  | {
      readonly call: 'log-declare'
      readonly streams: readonly WireStream[]
      readonly onConflict: 'refuse' | 'update'
    }
  /**
   * Answered with records, or a failure. With `wait` not before there is one, or `log-unread` names it. The client chooses
   * `readId`, unique in the session.
   */
  | {
      readonly call: 'log-read'
      readonly readId: number
      readonly stream: string
      readonly partition: number
      readonly from: ReadRequest['from']
      readonly maxRecords: number
      readonly maxBytes: number
      readonly wait?: true
    }
  | { readonly call: 'log-unread'; readonly readId: number }
  | { readonly call: 'log-producer'; readonly stream: string; readonly name: string }
  | { readonly call: 'log-describe'; readonly stream?: string }
  | { readonly call: 'log-trim'; readonly stream: string; readonly partition: number; readonly before: number }
  | { readonly call: 'log-add-partitions'; readonly stream: string; readonly partitions: number }
  | { readonly call: 'log-alter'; readonly stream: string; readonly options: Omit<WireStream, 'name'> }
  | { readonly call: 'log-delete'; readonly stream: string }
  /** Answered after the commit of all that this client sent before. */
  | { readonly call: 'sync' }
  | AdminRequest

export type AdminRequest = { readonly call: 'admin' } & (
  | { readonly method: 'queues' }
  | { readonly method: 'queue'; readonly queue: string }
  | {
      readonly method: 'peek'
      readonly queue: string
      readonly options?: { readonly state?: MessageState; readonly after?: string; readonly limit?: number }
    }
  | {
      readonly method: 'purge'
      readonly queue: string
      readonly options?: { readonly state?: MessageState; readonly before?: number }
    }
  | {
      readonly method: 'redrive'
      readonly queue: string
      readonly options?: { readonly ids?: readonly string[]; readonly limit?: number; readonly to?: string }
    }
  | { readonly method: 'deleteDead'; readonly queue: string; readonly options?: { readonly ids?: readonly string[] } }
  | { readonly method: 'cancelScheduled'; readonly messageId: string }
  | { readonly method: 'unpark'; readonly queue: string; readonly ids: readonly string[] }
  | { readonly method: 'alter'; readonly queue: string; readonly options: QueueLimits }
  | { readonly method: 'deleteQueue'; readonly queue: string }
  | { readonly method: 'bind'; readonly topic: string; readonly queue: string; readonly match?: JsonValue }
  | { readonly method: 'unbind'; readonly topic: string; readonly queue: string }
  | { readonly method: 'bindings'; readonly topic: string }
  | { readonly method: 'backup'; readonly toPath: string }
  | { readonly method: 'check' }
  | { readonly method: 'engine' }
)

/** An entry of `peek` as it crosses a frame: the record itself, base64, and what the engine knows besides. */
export interface PeekedWire
  extends Pick<PeekedMessage, 'id' | 'state' | 'attempt' | 'enqueuedAt' | 'dueAt' | 'expiresAt' | 'deadLetter'> {
  readonly record: string
}

/** What `peek` answers with, for the caller. */
export function decodePeeked(wire: PeekedWire): PeekedMessage {
  const bytes = Buffer.from(wire.record, 'base64')
  const message = decodeMessage(bytes, 0)
  return {
    id: wire.id,
    messageId: message.id,
    state: wire.state,
    attempt: wire.attempt,
    enqueuedAt: wire.enqueuedAt,
    ...(wire.dueAt === undefined ? {} : { dueAt: wire.dueAt }),
    ...(wire.expiresAt === undefined ? {} : { expiresAt: wire.expiresAt }),
    ...(message.key === undefined ? {} : { key: message.key }),
    priority: message.priority,
    attributes: message.attributes,
    headers: message.headers,
    ...(message.contentType === undefined ? {} : { contentType: message.contentType }),
    body: message.body,
    ...(wire.deadLetter === undefined ? {} : { deadLetter: wire.deadLetter }),
  }
}
