import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Principal } from './gateway-options.ts'

/** What Node's server knows beyond the request; absent where the gateway runs on another platform. */
export interface NodeBindings {
  readonly incoming?: IncomingMessage
  readonly outgoing?: ServerResponse
}

/** One request on its way through the gateway. */
export interface Exchange {
  readonly request: Request
  readonly url: URL
  readonly node: NodeBindings
  principal: Principal | undefined
  /** Whether the body has been asked for. An answer before that ends the connection. */
  bodyRead: boolean
}

/** Requests that wait for `100 Continue` before they send their body. */
const awaitingContinue = new WeakSet<IncomingMessage>()

export function expectContinue(incoming: IncomingMessage): void {
  awaitingContinue.add(incoming)
}

/** From here on the body is wanted: tells a client that asked for leave to send it. */
export function wantBody(exchange: Exchange): void {
  exchange.bodyRead = true
  const { incoming, outgoing } = exchange.node
  if (incoming !== undefined && awaitingContinue.delete(incoming)) outgoing?.writeContinue()
}

export function clientAddress(exchange: Exchange): string {
  return exchange.node.incoming?.socket?.remoteAddress ?? 'unknown'
}
