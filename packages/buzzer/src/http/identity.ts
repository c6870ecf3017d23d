import type { AnyCommandContract } from '../message/index.ts'
import type { OperationRecord } from '../operations/index.ts'
import type { Exchange } from './exchange.ts'
import type { Action, Authorize, GatewayOptions, Principal } from './gateway-options.ts'
import { Refusal } from './refusal.ts'
import type { Settings } from './settings.ts'

/** Who asks, and may they. Source: spec http 4, 5.1. */
export class Identity {
  readonly #authenticate: Exclude<GatewayOptions['authenticate'], 'none'>
  readonly #authorize: Authorize | undefined
  readonly #challenge: string

  constructor(options: GatewayOptions, settings: Settings) {
    this.#authenticate = options.authenticate === 'none' ? undefined : options.authenticate
    this.#authorize = options.authorize
    this.#challenge = settings.challenge
  }

  /** Refuses with 401 whoever is nobody. Without `authenticate` all are one anonymous owner. */
  async identify(exchange: Exchange): Promise<void> {
    if (this.#authenticate === undefined) return
    const principal: unknown = await this.#authenticate(exchange.request)
    if (principal === null || principal === undefined) {
      throw new Refusal('unauthenticated', { headers: { 'WWW-Authenticate': this.#challenge } })
    }
    const { id, tenant } = principal as Principal
    if (typeof id !== 'string' || id === '' || (tenant !== undefined && typeof tenant !== 'string')) {
      throw new TypeError('authenticate must give { id: string, tenant?: string } or null')
    }
    exchange.principal = tenant === undefined ? { id } : { id, tenant }
  }

  /** Refuses with 403 what may not be accepted. */
  async mayAccept(
    exchange: Exchange,
    command: AnyCommandContract | undefined,
    ofRoute: Authorize | undefined,
  ): Promise<void> {
    const authorize = ofRoute ?? this.#authorize
    if (authorize === undefined) return
    const { request, principal } = exchange
    if (!(await authorize({ principal, action: 'accept', request, ...(command === undefined ? {} : { command }) })))
      throw new Refusal('forbidden')
  }

  /** Refuses with 404: whoever may not see an operation is not told that there is one. */
  async maySee(
    exchange: Exchange,
    record: OperationRecord,
    action: Exclude<Action, 'accept'>,
    ofRoute: Authorize | undefined,
  ): Promise<void> {
    const authorize = ofRoute ?? this.#authorize ?? isOwner
    const { request, principal } = exchange
    const { owner, tenant } = record
    const operation = {
      ...record.operation,
      ...(owner === undefined ? {} : { owner }),
      ...(tenant === undefined ? {} : { tenant }),
    }
    if (!(await authorize({ principal, action, operation, request }))) throw new Refusal('not-found')
  }
}

const isOwner: Authorize = ({ principal, operation }) =>
  operation?.owner === principal?.id && operation?.tenant === principal?.tenant
