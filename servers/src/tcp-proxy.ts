import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'

export type Direction = 'to-server' | 'to-client'

/** What becomes of the connection at a piece of bytes that was looked at. `cut-before`: the piece never arrives. */
export type Verdict = 'pass' | 'cut-before' | 'cut-after'

/** Stands between a client and a server on this machine and makes the network's faults. Each fault holds until `pass()`. */
export interface TcpProxy extends AsyncDisposable {
  readonly port: number
  /** Open connections of clients. */
  readonly connections: number
  /** Bytes that vanished so far. */
  readonly swallowedBytes: number
  /** Pieces that wait for their delay. */
  readonly heldPieces: number
  /** Ends every fault for connections to come and for those that are open. What was swallowed is lost. */
  pass(): void
  /** Ends all open connections in order (FIN). */
  cut(): void
  /** Ends all open connections hard (RST). */
  reset(): void
  /** Ends one direction of all open connections, the other goes on. */
  halfClose(direction: Direction): void
  /** Bytes of the directions vanish while the connections stay open: a half-open link. New connections too. */
  swallow(...directions: readonly Direction[]): void
  /** Holds every piece back so long, in order. */
  delay(ms: number): void
  /** New connections are reset at once. */
  refuse(): void
  /** Shows each piece of bytes of one direction to `look`, which may cut that connection there. */
  cutWhen(direction: Direction, look: (bytes: Buffer) => Verdict): void
}

interface Faults {
  readonly swallowed: ReadonlySet<Direction>
  readonly delayMs: number
  readonly refusing: 'yes' | 'no'
  readonly looks: Partial<Readonly<Record<Direction, (bytes: Buffer) => Verdict>>>
}

const none: Faults = { swallowed: new Set(), delayMs: 0, refusing: 'no', looks: {} }

interface Link {
  readonly client: Socket
  readonly server: Socket
}

/** A proxy in front of `port` on the loopback interface, in this process. */
export async function startProxy(port: number): Promise<TcpProxy> {
  const links = new Set<Link>()
  let faults = none
  let swallowedBytes = 0
  let heldPieces = 0

  const cutLink = ({ client, server }: Link): void => {
    client.destroy()
    server.destroy()
  }

  const forward = (link: Link, direction: Direction): void => {
    const [from, to] = direction === 'to-server' ? [link.client, link.server] : [link.server, link.client]
    /** Pieces leave in the order in which they came, also while the delay changes. */
    let before = Promise.resolve()
    const write = (bytes: Buffer): void => {
      if (to.destroyed || !to.writable) return
      if (to.write(bytes)) return
      from.pause()
      to.once('drain', () => from.resume())
    }
    from.on('data', bytes => {
      if (faults.swallowed.has(direction)) {
        swallowedBytes += bytes.length
        return
      }
      const verdict = faults.looks[direction]?.(bytes) ?? 'pass'
      if (verdict === 'cut-before') return cutLink(link)
      const { delayMs } = faults
      if (delayMs === 0 && heldPieces === 0) write(bytes)
      else {
        heldPieces++
        const held = new Promise(resolve => setTimeout(resolve, delayMs))
        before = Promise.all([before, held]).then(() => {
          heldPieces--
          write(bytes)
        })
      }
      if (verdict === 'cut-after') to.end(() => cutLink(link))
    })
    from.on('end', () => void before.then(() => to.end()))
    from.on('error', () => to.destroy())
    from.on('close', () => void before.then(() => to.destroy()))
  }

  const listener = createServer({ allowHalfOpen: true, noDelay: true }, client => {
    if (faults.refusing === 'yes') return client.resetAndDestroy()
    const server = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    const link = { client, server }
    links.add(link)
    client.on('close', () => links.delete(link))
    forward(link, 'to-server')
    forward(link, 'to-client')
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')

  return {
    port: (listener.address() as AddressInfo).port,
    get connections() {
      return links.size
    },
    get swallowedBytes() {
      return swallowedBytes
    },
    get heldPieces() {
      return heldPieces
    },
    pass: () => void (faults = none),
    cut: () => links.forEach(cutLink),
    reset: () =>
      links.forEach(({ client, server }) => {
        client.resetAndDestroy()
        server.resetAndDestroy()
      }),
    halfClose: direction =>
      links.forEach(({ client, server }) => (direction === 'to-server' ? server.end() : client.end())),
    swallow: (...directions) => void (faults = { ...faults, swallowed: new Set(directions) }),
    delay: ms => void (faults = { ...faults, delayMs: ms }),
    refuse: () => void (faults = { ...faults, refusing: 'yes' }),
    cutWhen: (direction, look) => void (faults = { ...faults, looks: { ...faults.looks, [direction]: look } }),
    async [Symbol.asyncDispose]() {
      const closed = once(listener, 'close')
      listener.close()
      links.forEach(cutLink)
      await closed
    },
  }
}
