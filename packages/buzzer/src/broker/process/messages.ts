import type { MessagePort } from 'node:worker_threads'
import type { WireError } from '../protocol/index.ts'

/** What the user's thread tells the broker thread about the thread as a whole. */
export type ToBrokerThread =
  | { readonly as: 'attach'; readonly port: MessagePort; readonly mayHost: boolean }
  /** The answer to `ping`: the user's event loop turns. */
  | { readonly as: 'pong' }

/** What the broker thread tells the user's thread about the thread as a whole. */
export type FromBrokerThread =
  | { readonly as: 'ping' }
  | {
      readonly as: 'log'
      readonly level: 'debug' | 'info' | 'warn' | 'error'
      readonly fields: Record<string, unknown>
      readonly message: string
    }

/** On a session's own port, beside the frames, which travel as bare buffers: transferred, or shared and never changed. */
export type ToSession =
  /** An engine is reached. Nothing sent on an earlier connection arrives any more: begin with `start`, then a hello. */
  | { readonly as: 'up'; readonly generation: number; readonly ownerPid: number; readonly hostedHere: boolean }
  | { readonly as: 'down' }
  /** The owner, another process, holds the connection and does not answer; `heard` when it does again. */
  | { readonly as: 'silent'; readonly ownerPid: number; readonly silentMs: number }
  | { readonly as: 'heard' }
  /** No engine yet, and why. The thread goes on trying unless `final`. */
  | { readonly as: 'trouble'; readonly error: WireError; readonly final: boolean }

export type FromSession =
  /** What follows is meant for this connection; what came before was meant for an earlier one and is dropped. */
  | { readonly as: 'start'; readonly generation: number }
  /** What the owner calls a lost lock, when that is shorter than this process's own: beats must come often enough. */
  | { readonly as: 'lock-ms'; readonly lockMs: number }
  /** The session ends; nothing follows. */
  | { readonly as: 'bye' }
