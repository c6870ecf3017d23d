import { lookup as dnsLookup } from 'node:dns'
import { Agent as HttpAgent, type IncomingMessage, request as httpRequest } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import type { LookupFunction } from 'node:net'
import { literalAddress } from './callback-url.ts'
import { isPublicAddress } from './public-address.ts'

/** Every address a name has. */
export type Resolve = (hostname: string) => Promise<readonly Address[]>

export interface WebhookRequest {
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** From the connection to the last byte of the answer. */
  readonly signal: AbortSignal
  /** Any address is good. */
  readonly anyAddress: boolean
  readonly resolve: Resolve
}

export interface WebhookAnswer {
  readonly status: number
  readonly retryAfter: string | undefined
}

/** A name leads to an address that is not public: final, whatever time may bring. */
export class BlockedAddress extends Error {
  constructor() {
    super('the callback URL leads to an address that is not public')
  }
}

/** As much of an answer as is read, to let the connection end properly. */
const maxAnswerBytes = 4_096

export const systemResolve: Resolve = hostname =>
  new Promise((resolve, reject) => {
    dnsLookup(hostname, { all: true }, (error, addresses) => (error === null ? resolve(addresses) : reject(error)))
  })

/**
 * Posts once; redirects are not followed, proxies of the environment not used. Every address of the name must be public,
 * and the socket connects to what was checked: there is no second lookup.
 */
export async function postWebhook(call: WebhookRequest): Promise<WebhookAnswer> {
  const { url, headers, body, signal, anyAddress } = call
  const literal = literalAddress(url)
  if (literal !== undefined && !anyAddress && !isPublicAddress(literal)) throw new BlockedAddress()
  const isSecure = url.protocol === 'https:'
  // An agent of its own: nothing is kept open, and the global one may go through a proxy.
  const agent = isSecure ? new HttpsAgent({ keepAlive: false }) : new HttpAgent({ keepAlive: false })
  const { promise, resolve, reject } = Promise.withResolvers<WebhookAnswer>()
  const outgoing = (isSecure ? httpsRequest : httpRequest)(
    url,
    { method: 'POST', headers, agent, signal, lookup: checkedLookup(call) },
    (incoming: IncomingMessage) => {
      let read = 0
      const answer: WebhookAnswer = { status: incoming.statusCode ?? 0, retryAfter: incoming.headers['retry-after'] }
      incoming.on('data', (chunk: Buffer) => {
        read += chunk.byteLength
        if (read < maxAnswerBytes) return
        resolve(answer)
        incoming.destroy()
      })
      incoming.on('end', () => resolve(answer))
      incoming.on('error', reject)
      incoming.on('close', () => reject(new Error('the answer broke off')))
    },
  )
  outgoing.on('error', reject)
  outgoing.end(body)
  return promise
}

function checkedLookup({ resolve, anyAddress }: WebhookRequest): LookupFunction {
  const answer = async (...[hostname, options, callback]: Parameters<LookupFunction>): Promise<void> => {
    const found = await checkedAddresses(hostname, resolve, anyAddress)
    if (found instanceof Error) callback(found, [])
    else if (options.all === true) callback(null, [...found])
    else callback(null, found[0].address, found[0].family)
  }
  return (hostname, options, callback) => void answer(hostname, options, callback)
}

interface Address {
  readonly address: string
  readonly family: number
}

async function checkedAddresses(
  hostname: string,
  resolve: Resolve,
  anyAddress: boolean,
): Promise<readonly [Address, ...Address[]] | Error> {
  try {
    const [first, ...others] = await resolve(hostname)
    if (first === undefined) return new Error('the name of the callback URL has no address')
    const all = [first, ...others] as const
    return anyAddress || all.every(({ address }) => isPublicAddress(address)) ? all : new BlockedAddress()
  } catch (error) {
    return error as Error
  }
}
