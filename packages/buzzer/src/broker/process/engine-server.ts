import { createServer, type Server, type Socket } from 'node:net'
import type { Engine } from '../engine/engine.ts'
import { ByteWriter, toWireError, writeFailure } from '../protocol/index.ts'
import { FrameSplitter, framePrefix } from './frame-splitter.ts'
import { prepareSocketAddress } from './socket-address.ts'

/** Serves other processes of this machine over a Unix socket or a named pipe. */
export class EngineServer {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #engine: Engine

  constructor(engine: Engine) {
    this.#engine = engine
    this.#server = createServer(socket => this.#accept(socket))
  }

  /** Call it only as the owner: it removes what stands at the address. */
  async listen(address: string): Promise<void> {
    prepareSocketAddress(address)
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(address, () => {
        this.#server.removeListener('error', reject)
        // Later errors concern single connections (too many open files): those are refused, the engine goes on.
        this.#server.on('error', () => {})
        resolve()
      })
    })
  }

  /** Takes no further connection and ends the present ones after what was written to them. */
  close(): void {
    this.#server.close()
    for (const socket of this.#sockets) {
      socket.destroySoon()
      // One that reads nothing must not hold up the end of this thread.
      socket.unref()
    }
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket)
    const splitter = new FrameSplitter()
    const session = this.#engine.connect({
      local: false,
      send: frame => writeFrame(socket, frame),
      get bufferedBytes() {
        return socket.writableLength
      },
      close: error => {
        if (error !== undefined) writeFrame(socket, refusal(error))
        socket.destroySoon()
      },
    })
    socket.on('data', chunk => {
      try {
        splitter.push(chunk, frame => session.receive(frame))
      } catch {
        // A frame too long or broken closes that connection only; the client says what it found when it comes back.
        socket.destroy()
      }
    })
    socket.on('drain', () => session.drained())
    socket.on('error', () => {})
    socket.on('close', () => {
      this.#sockets.delete(socket)
      session.disconnected()
    })
  }
}

/** Writes a frame behind its length, in one system call. */
export function writeFrame(socket: Socket, frame: Uint8Array): void {
  if (!socket.writable) return
  socket.cork()
  socket.write(framePrefix(frame.length))
  socket.write(frame)
  socket.uncork()
}

/** Why a connection ends: a failure of no request. */
function refusal(error: Error): Uint8Array {
  const writer = new ByteWriter(1024)
  writeFailure(writer, 0, toWireError(error))
  return writer.take()
}
