import type { Capabilities } from './capabilities.ts'

/** One thing users ask of a transport, and how a bus on it has it. */
export interface Guarantee {
  readonly name: string
  /** `native`: the broker's own. `emulated`: the core does it. `refused`: an error at the start or at the call. */
  readonly how: 'native' | 'emulated' | 'refused'
  /** For people: limits, what it needs, what to do instead. */
  readonly detail: string
}

const dayMs = 86_400_000

/**
 * What a transport with these capabilities means to a user of the bus: the table in the README and the one that
 * `buzzer doctor` prints. Pure; the rows come in the same order for every transport. Source: spec bus 2, ADR 8.
 */
export function guaranteesOf(capabilities: Capabilities): readonly Guarantee[] {
  const { delayMaxMs, priorities, maxMessageBytes } = capabilities
  const rows: Guarantee[] = []

  const delay = 'delayed messages and retries'
  if (delayMaxMs === 0) rows.push(emulates(delay, 'in the store'))
  else rows.push(has(delay, delayMaxMs === Infinity ? 'any' : `to ${Math.floor(delayMaxMs / dayMs)} days`))

  const cancel = 'cancelling a schedule'
  rows.push(capabilities.cancel === 'native' ? has(cancel) : emulates(cancel, 'in the store'))

  const dead = 'dead letters with reason and bytes'
  rows.push(capabilities.deadLetter === 'native' ? has(dead) : emulates(dead, '`<queue>.dead`'))

  const counted = 'delivery counts over crashes'
  if (capabilities.redelivery === 'counted') rows.push(has(counted))
  else rows.push(emulates(counted, capabilities.redelivery === 'uncounted' ? 'in a header' : 'by retry topics'))

  const order = 'order by key, over processes'
  if (capabilities.ordering === 'key') rows.push(has(order))
  else rows.push(refuses(order, capabilities.ordering === 'queue' ? 'by queue only' : ''))

  const atomic = 'settle, send and records in one step'
  if (capabilities.transactions === 'none') rows.push(emulates(atomic, 'outbox in the store'))
  else rows.push(has(atomic))
  const caller = "send in the caller's transaction"
  rows.push(capabilities.transactions === 'caller' ? has(caller) : refuses(caller, ''))

  const once = 'deduplication'
  if (capabilities.deduplication === 'native') rows.push(has(once))
  else rows.push(emulates(once, 'inbox in the store'))

  const ttl = 'time to live'
  rows.push(capabilities.ttl === 'native' ? has(ttl) : emulates(ttl, 'checked before the handler'))

  const priority = 'priorities'
  rows.push(priorities > 1 ? has(priority, String(priorities)) : refuses(priority, ''))

  const mandatory = 'mandatory publish'
  rows.push(capabilities.mandatory === 'native' ? has(mandatory) : refuses(mandatory, ''))

  const requests = 'requests, queues per instance'
  rows.push(capabilities.temporaryQueues === 'native' ? has(requests) : refuses(requests, ''))

  const replay = 'event log, replay'
  rows.push(capabilities.replay ? has(replay) : refuses(replay, ''))

  rows.push(has('largest message', bytes(maxMessageBytes)))
  return rows
}

function has(name: string, detail = ''): Guarantee {
  return { name, how: 'native', detail }
}

function emulates(name: string, detail: string): Guarantee {
  return { name, how: 'emulated', detail }
}

function refuses(name: string, detail: string): Guarantee {
  return { name, how: 'refused', detail }
}

function bytes(count: number): string {
  if (count === Infinity) return 'any'
  return count >= 1024 ** 2 ? `${Math.floor(count / 1024 ** 2)} MiB` : `${Math.floor(count / 1024)} KiB`
}
