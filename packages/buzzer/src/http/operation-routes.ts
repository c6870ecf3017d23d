import { hasCode } from '../message/index.ts'
import type { OperationRecord } from '../operations/index.ts'
import { lateMs } from './accept.ts'
import type { GatewayCore } from './core.ts'
import { entityTag, isNoneMatch } from './entity-tag.ts'
import type { Exchange } from './exchange.ts'
import type { Action } from './gateway-options.ts'
import { readPrefer } from './prefer.ts'
import { Refusal } from './refusal.ts'
import { within } from './within.ts'

const away = 'The state of operations cannot be read at the moment'
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** The record behind an id, if this caller may see it: 404, 410. A malformed id costs no access to the store. */
export async function findOperation(
  core: GatewayCore,
  exchange: Exchange,
  id: string,
  action: Exclude<Action, 'accept'>,
): Promise<OperationRecord> {
  await core.identity.identify(exchange)
  return seeOperation(core, exchange, id, action)
}

/** As `findOperation`, for a caller who is known already. */
export async function seeOperation(
  core: GatewayCore,
  exchange: Exchange,
  id: string,
  action: Exclude<Action, 'accept'>,
): Promise<OperationRecord> {
  if (!uuid.test(id)) throw new Refusal('not-found')
  const record = await fromStore(core, core.inside.read(id.toLowerCase()))
  if (record === undefined) throw new Refusal('not-found')
  if (record === 'gone') throw new Refusal('operation-gone')
  await core.identity.maySee(exchange, record, action, core.resources.routeOf(record)?.options.authorize)
  return record
}

/** A store that is away is 503, not a fault of ours. */
async function fromStore<T>({ clock, settings }: GatewayCore, reading: Promise<T>): Promise<T> {
  try {
    return await within(clock, settings.acceptTimeoutMs, reading, () => new Refusal('unavailable', { detail: away }))
  } catch (error) {
    if (error instanceof Refusal) throw error
    throw new Refusal('unavailable', { detail: away })
  }
}

/** `GET /operations/{id}`. Source: spec http 5.3, 5.4, 5.8. */
export async function getOperation(core: GatewayCore, exchange: Exchange, found: OperationRecord): Promise<Response> {
  const { request } = exchange
  const { resources, settings, inside, closing } = core
  const prefer = readPrefer(request.headers.get('prefer'))
  const noneMatch = request.headers.get('if-none-match')
  const grantedS =
    prefer.waitS === undefined ? undefined : Math.min(prefer.waitS, Math.floor(settings.waitMaxMs / 1000))
  let record = found
  if (grantedS !== undefined && grantedS > 0) {
    const differs = (now: OperationRecord): boolean =>
      noneMatch === null ? now.operation.done : !isNoneMatch(noneMatch, entityTag(now.operation.version))
    try {
      const signal = AbortSignal.any([request.signal, closing])
      const timeoutMs = grantedS * 1000
      const waiting = inside.following.until(found.operation.id, differs, { timeoutMs, signal })
      const late = (): Error => new Refusal('unavailable', { detail: away })
      record = (await within(core.clock, timeoutMs + lateMs, waiting, late)) ?? found
    } catch {
      // The client left, or the gateway closes: the present state is the answer.
    }
  }
  const headers: Record<string, string> = {
    ...resources.headers(record),
    'Cache-Control': 'private, no-cache',
    Vary: 'Accept',
    ...(grantedS === undefined ? {} : { 'Preference-Applied': `wait=${grantedS}` }),
  }
  if (isNoneMatch(noneMatch, entityTag(record.operation.version))) {
    const { 'Content-Type': _type, ...rest } = headers
    return new Response(null, { status: 304, headers: rest })
  }
  const body = JSON.stringify(resources.body(record))
  const elsewhere =
    resources.routeOf(record)?.options.onComplete === 'see-other' ? resources.resultUrl(record) : undefined
  if (elsewhere !== undefined) return new Response(body, { status: 303, headers: { ...headers, Location: elsewhere } })
  return new Response(body, { status: 200, headers })
}

/** `DELETE /operations/{id}`. Source: spec http 5.7. */
export async function cancelOperation(core: GatewayCore, found: OperationRecord): Promise<Response> {
  const { operations, inside, resources } = core
  const { id } = found.operation
  try {
    const cancelling = operations.cancel(id)
    await within(
      core.clock,
      core.settings.acceptTimeoutMs,
      cancelling,
      () => new Refusal('unavailable', { detail: away }),
    )
  } catch (error) {
    if (hasCode(error, 'BUZZER_OPERATION_DONE')) {
      const self = resources.link(id)
      throw new Refusal('operation-done', {
        members: { operation: self },
        headers: { Link: `<${self}>; rel="related"` },
      })
    }
    if (hasCode(error, 'BUZZER_OPERATION_UNKNOWN')) throw new Refusal('operation-gone')
    if (error instanceof Refusal) throw error
    throw new Refusal('unavailable', { detail: 'The operation cannot be cancelled at the moment' })
  }
  const record = await fromStore(core, inside.read(id))
  if (record === undefined || record === 'gone') throw new Refusal('operation-gone')
  return new Response(JSON.stringify(resources.body(record)), {
    status: record.operation.done ? 200 : 202,
    headers: { ...resources.headers(record), 'Cache-Control': 'no-store' },
  })
}
