import type { ByteWriter, WireError } from '../protocol/index.ts'
import type { EngineConnection } from './engine.ts'
import type { LogRead } from './log-reads.ts'
import type { Queue } from './queue.ts'
import type { Refusal } from './refusals.ts'

/** A client as the engine knows it. Outlives its connection for a moment, so that a cut one can be mended. */
export interface Session {
  /** Empty until its hello. */
  id: string
  /** As its last hello said. */
  protocolVersion: number
  connection: EngineConnection | undefined
  readonly local: boolean
  /** Frames that wait for the next pump. */
  frames: Uint8Array[]
  /** What leaves after the commit. */
  readonly out: ByteWriter
  lastSend: number
  lastAppend: number
  /** Appends whose answers the client has. */
  appendsHeard: number
  /** Refusals the client may not have heard of. */
  refused: Refusal[]
  /** Acks taken in on this connection. */
  acks: number
  /** What the client was last told of both. */
  toldSends: number
  toldAcks: number
  /** Monotonic time of its last frame. */
  heardAt: number
  /** Whether its row must be written with the next commit. */
  dirty: boolean
  saidBye: boolean
  /** Monotonic time at which a session without connection is given up. */
  goneAt: number
  readonly receivers: Map<number, Receiver>
  readonly watches: Map<number, Watch>
  /** Reads of logs that are not answered yet, by the client's own numbers. */
  readonly reads: Map<number, LogRead>
  readonly changed: Set<number>
  /** Steps that failed in the middle once and are refused before they begin. Rare: see poisoned-step.ts. */
  condemned: Map<string, WireError> | undefined
}

/** One subscription to a queue, or to its dead letters. */
export interface Receiver {
  readonly id: number
  readonly session: Session
  readonly queue: Queue
  readonly of: 'messages' | 'dead-letters'
  maxInFlight: number
  inFlight: number
  state: 'running' | 'paused' | 'ended'
}

/** Interest in one record. `key`: collection and id as JSON. */
export interface Watch {
  readonly session: Session
  readonly id: number
  readonly key: string
}
