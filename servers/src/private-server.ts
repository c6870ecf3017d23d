/** A server of our own: on a free port, its data in a temporary folder, gone when disposed of. */
export interface PrivateServer extends AsyncDisposable {
  /** How a client reaches it; the same after every restart. */
  readonly url: string
  readonly port: number
  readonly version: string
  /** Its data, kept over `stop`, `kill` and `start`. */
  readonly folder: string
  /** An orderly end; resolves when its processes are gone. */
  stop(): Promise<void>
  /** SIGKILL; resolves when its processes are gone. */
  kill(): Promise<void>
  /** Up again on the same port and folder; resolves when it answers a protocol handshake. */
  start(): Promise<void>
}

/** Why a server cannot be had on this machine: the programs that were looked for, and what would help. */
export class ServerUnavailable extends Error {
  override readonly name = 'ServerUnavailable'
}
