import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import { expectContinue, type NodeBindings } from './exchange.ts'
import { Refusal } from './refusal.ts'
import { invalid } from './settings.ts'

export interface ListenOptions {
  /** 0 picks a free one. */
  readonly port: number
  /** Default 127.0.0.1. Another than a loopback address needs `authenticate`. */
  readonly host?: string
  /** For the headers of a request to arrive. Default 10,000. */
  readonly headersTimeoutMs?: number
  /** Of all headers of a request. Default 16,384. */
  readonly maxHeaderBytes?: number
}

export interface ListeningServer {
  readonly port: number
  /** `http://127.0.0.1:8080` */
  readonly url: string
  /** Takes no new connections, and resolves when the open ones have ended; after 10 s they are cut. Idempotent. */
  close(): Promise<void>
}

type Fetch = (request: Request, node?: NodeBindings) => Promise<Response>

/** What `listen` must know of its gateway. */
export interface Serving {
  /** No `authenticate` was given. */
  readonly anonymous: boolean
  readonly closing: AbortSignal
  onClosed(server: ListeningServer): void
  readonly problem: (refusal: Refusal) => Response
}

/** After that long a closing server cuts what is still open; with its gateway, what was left of 10 s. Source: spec http 9. */
const cutMs = 10_000
const cutWithGatewayMs = 2_000

/** Serves a gateway on Node's own HTTP server. */
export async function listen(
  gateway: { fetch: Fetch },
  options: ListenOptions,
  serving: Serving,
): Promise<ListeningServer> {
  const { port, host = '127.0.0.1', headersTimeoutMs = 10_000, maxHeaderBytes = 16_384 } = options
  for (const name of Object.keys(options)) {
    if (!['port', 'host', 'headersTimeoutMs', 'maxHeaderBytes'].includes(name)) {
      throw invalid(name, `listen has no option ${name}`)
    }
  }
  if (!Number.isInteger(port) || port < 0 || port > 65_535) throw invalid('port', `port ${String(port)} is no port`)
  if (serving.anonymous && !isLoopback(host)) {
    throw invalid(
      'authenticate',
      `without authenticate everybody who reaches ${host} could read and cancel every operation; ` +
        "give authenticate, say authenticate: 'none', or listen on 127.0.0.1",
    )
  }
  if (serving.closing.aborted) throw invalid('port', 'this gateway is closed')
  const respond = nodeHandler(gateway.fetch, serving.problem)
  const server = createServer(
    {
      headersTimeout: headersTimeoutMs,
      // The body has a limit of its own; this one only bounds what never asks for the body.
      requestTimeout: 120_000,
      connectionsCheckingInterval: Math.min(1_000, Math.max(50, headersTimeoutMs / 4)),
      maxHeaderSize: maxHeaderBytes,
    },
    respond,
  )
  // With a listener Node leaves `100 Continue` to us: a refusal must come instead of it.
  server.on('checkContinue', respond.checkContinue)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
  const address = server.address() as AddressInfo
  const shown = address.family === 'IPv6' ? `[${address.address}]` : address.address
  let closed: Promise<void> | undefined
  const listening: ListeningServer = {
    port: address.port,
    url: `http://${shown}:${address.port}`,
    close() {
      const graceMs = serving.closing.aborted ? cutWithGatewayMs : cutMs
      closed ??= closeServer(server, graceMs).finally(() => serving.onClosed(listening))
      return closed
    },
  }
  return listening
}

/** Answers requests of Node's HTTP server. */
export interface NodeHandler {
  (incoming: IncomingMessage, outgoing: ServerResponse): void
  /**
   * For `server.on('checkContinue', …)`: a client that sends `Expect: 100-continue` then gets a refusal instead of `100`.
   * Without it Node asks for the body by itself.
   */
  readonly checkContinue: (incoming: IncomingMessage, outgoing: ServerResponse) => void
}

/** Mounts a gateway in Express, Fastify (`reply.hijack()`), Nest or a plain `node:http` server. */
export function toNodeHandler(gateway: { readonly fetch: Fetch }): NodeHandler {
  return nodeHandler(gateway.fetch, undefined)
}

function nodeHandler(fetch: Fetch, problem: ((refusal: Refusal) => Response) | undefined): NodeHandler {
  const respond = requestListener(fetch, problem)
  const checkContinue = (incoming: IncomingMessage, outgoing: ServerResponse): void => {
    expectContinue(incoming)
    respond(incoming, outgoing)
  }
  return Object.assign(respond, { checkContinue })
}

function requestListener(
  fetch: Fetch,
  problem: ((refusal: Refusal) => Response) | undefined,
): (incoming: IncomingMessage, outgoing: ServerResponse) => void {
  const respond = getRequestListener((request, env) => fetch(request, env as NodeBindings), {
    // The gateway lives in somebody's process: its Request and Response stay what they are.
    overrideGlobalObjects: false,
    hostname: 'localhost',
    // Called for requests no URL can be made of; `fetch` itself never rejects.
    errorHandler: () => problem?.(new Refusal('not-found')) ?? new Response(null, { status: 400 }),
  })
  return (incoming, outgoing) => {
    // Express and others cut the mount path off `url`, but routes and links of the gateway name it (`basePath`).
    const { originalUrl } = incoming as { originalUrl?: unknown }
    if (typeof originalUrl === 'string') incoming.url = originalUrl
    void respond(incoming, outgoing)
  }
}

function closeServer(server: Server, graceMs: number): Promise<void> {
  return new Promise(resolve => {
    const cut = setTimeout(() => server.closeAllConnections(), graceMs)
    cut.unref()
    server.close(() => {
      clearTimeout(cut)
      resolve()
    })
    server.closeIdleConnections()
  })
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host)
}
