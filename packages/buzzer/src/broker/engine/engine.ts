/**
 * The engine: owner of the file, single-threaded and synchronous. It never waits and never touches a socket; its host does.
 *
 * How a host drives it: hand every frame that has come to `session.receive`, which only keeps it; the engine calls
 * `onWork` once, and the host calls `pump` soon after (`setImmediate` is right: what arrives meanwhile shares the
 * commit). `pump` applies all that is there, commits once, and only then sends answers and deliveries. Timers that fall
 * due call `onWork` too. `pump` itself calls `onWork` when work is left.
 */
import type { Clock, LogFields } from '../../message/index.ts'
import type { FileWork } from '../storage/file-work.ts'

export interface EngineOptions {
  /** The file; its folder exists. The caller holds the owner lock. */
  readonly path: string
  readonly durability: 'fsync' | 'os'
  /** For messages to people. */
  readonly ownerPid: number
  /** A session silent for so long has lost its locks. */
  readonly lockMs: number
  /** How long sessions of the owner before may come back to their open deliveries. */
  readonly reclaimMs: number
  /** How long a session whose connection broke without `bye` may come back before its locks are freed. Default 60. */
  readonly returnMs?: number
  /** Live bytes in the file beyond which sends are refused with `BUZZER_BROKER_FULL`. */
  readonly maxFileBytes: number
  readonly maxMessageBytes: number
  /** Does work that reads the whole file, beside the engine: `doFileWork` in another thread. */
  readonly fileWork: (work: FileWork) => Promise<unknown>
  readonly clock: Clock
  /** Asks the host to call `pump` soon, once. */
  readonly onWork: () => void
  /** What an operator should read. */
  readonly report: (level: 'debug' | 'info' | 'warn' | 'error', fields: LogFields, message: string) => void
  /** The engine has stopped for good and acknowledges nothing more; all connections were closed with this error. */
  readonly onFailed: (error: Error) => void
}

/** One connection, made and owned by the host. */
export interface EngineConnection {
  /** In the owner's own process: its session cannot outlive the owner. */
  readonly local: boolean
  /** Takes the frame over; never blocks. */
  send(frame: Uint8Array<ArrayBuffer>): void
  /** Bytes handed to `send` and not yet taken by the other side, as far as known. Above 1 MiB nothing is delivered. */
  readonly bufferedBytes: number
  /** Ends the connection. Called at most once, never after `disconnected`. */
  close(error?: Error): void
}

/** The engine's end of a connection. */
export interface EngineSession {
  /** Keeps the frame for the next `pump`. The engine owns the bytes from here on. */
  receive(frame: Uint8Array): void
  /** `bufferedBytes` has fallen: deliveries may go on. */
  drained(): void
  /** The connection is gone. Without a `bye` before it, the session's locks fall after `returnMs`. */
  disconnected(): void
}

/** Counted since this engine began to serve, where nothing else is said. Source: spec broker 12. */
export interface EngineStats {
  /** Rises with every owner of the file. */
  readonly epoch: number
  readonly ownerPid: number
  readonly commits: number
  /** Time spent in commits, their syncs included: with `commits` the average. */
  readonly commitMs: number
  /** Most messages that one commit stored and settled. */
  readonly largestBatch: number
  readonly messagesSent: number
  readonly messagesDelivered: number
  readonly settled: number
  /** At this moment. */
  readonly sessions: number
  readonly locksLost: number
  /** Owners that took over from one that did not close the file, since the file was made. */
  readonly takeovers: number
  readonly damaged: number
  readonly expired: number
  /** Jumps of the wall clock by more than a second. */
  readonly clockJumps: number
  /** Bytes from clients that share the commit of this moment. */
  readonly pendingBytes: number
  /** Size of the write-ahead file. */
  readonly walBytes: number
  /** Bytes of the database that nothing needs. */
  readonly freeBytes: number
  /** Bytes of all messages in the file. */
  readonly liveBytes: number
  readonly durability: 'fsync' | 'os'
}

export interface Engine {
  readonly epoch: number
  connect(connection: EngineConnection): EngineSession
  pump(): void
  stats(): EngineStats
  /** Commits what has come, closes all connections and the file. Idempotent. Open deliveries of others stay open in the file. */
  close(): void
}
