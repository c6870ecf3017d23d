import { connect, type Socket } from 'node:net'
import { writeFrame } from './engine-server.ts'
import { FrameSplitter } from './frame-splitter.ts'
import type { SessionLink } from './local-session.ts'

/** Bytes that wait for the user's event loop; above it nothing more is read, so that the engine sees it too. */
const maxQueuedBytes = 1024 * 1024

export interface RemoteEngineEvents {
  /** Bytes of frames that the user's thread has not taken yet. */
  queuedBytes(): number
  /** A frame in a buffer of its own. */
  onFrame(frame: Uint8Array<ArrayBuffer>): void
  /** The connection was lost; not called after `close()`. */
  onClosed(): void
}

/** Connects one session to the engine in another process. Rejects with the system's error. */
export async function connectToOwner(address: string, events: RemoteEngineEvents): Promise<SessionLink> {
  const socket = connect(address)
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.removeListener('error', reject)
      resolve()
    })
  })
  return link(socket, events)
}

function link(socket: Socket, events: RemoteEngineEvents): SessionLink {
  const splitter = new FrameSplitter()
  let wanted = true
  socket.on('data', chunk => {
    try {
      splitter.push(chunk, frame => events.onFrame(frame))
      if (events.queuedBytes() > maxQueuedBytes) socket.pause()
    } catch {
      socket.destroy()
    }
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    if (wanted) events.onClosed()
  })
  return {
    send: frame => writeFrame(socket, frame),
    drained: () => {
      if (socket.isPaused() && events.queuedBytes() <= maxQueuedBytes) socket.resume()
    },
    close: () => {
      wanted = false
      socket.destroySoon()
    },
  }
}
