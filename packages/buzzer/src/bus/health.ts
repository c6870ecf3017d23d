import type { ConnectionState } from '../transport/index.ts'
import type { BusCore } from './bus-core.ts'
import type { BusQueue } from './queue.ts'

/** How the bus of this process is. Source: spec bus 4.14. */
export interface Health {
  /** `unhealthy`: not running, or the connection is lost. `degraded`: reconnecting, any queue not running, any row parked or not to be counted. */
  readonly status: 'healthy' | 'degraded' | 'unhealthy'
  readonly transport: {
    readonly name: string
    readonly state: ConnectionState | 'closed'
    /** What the transport says of its last trouble, the process id of an owner that does not answer for example. */
    readonly detail?: string
    /** What the transport says of itself: its class of durability, where its broker lives. */
    readonly facts?: Readonly<Record<string, string | number>>
  }
  readonly queues: readonly {
    readonly name: string
    readonly state: 'running' | 'paused' | 'open' | 'half-open' | 'stopped'
    readonly inFlight: number
    readonly reason?: string
  }[]
  readonly outbox: {
    readonly pending: number
    readonly parked: number
    /** Why the figures could not be had; they are 0 then. */
    readonly reason?: string
  }
}

/** A health report is asked for when something is wrong: it does not wait for a store that does not answer. */
const countMs = 1_000

export async function healthOf(
  core: BusCore,
  queues: Iterable<BusQueue>,
  connection: { readonly state: ConnectionState | 'closed'; readonly error: Error | undefined },
): Promise<Health> {
  const shown = [...queues].map(queueHealth)
  const running = core.state === 'running' || core.state === 'stopping'
  const outbox = running ? await countOutbox(core, connection.state) : { pending: 0, parked: 0 }
  const degraded =
    connection.state === 'reconnecting' ||
    shown.some(one => one.state !== 'running') ||
    outbox.parked > 0 ||
    outbox.reason !== undefined
  const unhealthy = core.state !== 'running' || connection.state === 'lost' || connection.state === 'closed'
  return {
    status: unhealthy ? 'unhealthy' : degraded ? 'degraded' : 'healthy',
    transport: {
      name: core.transport.name,
      state: connection.state,
      ...(connection.error === undefined ? {} : { detail: connection.error.message }),
      ...(core.transport.facts === undefined ? {} : { facts: core.transport.facts() }),
    },
    queues: shown,
    outbox,
  }
}

function uncounted(reason: string): Health['outbox'] {
  return { pending: 0, parked: 0, reason }
}

async function countOutbox(core: BusCore, state: ConnectionState | 'closed'): Promise<Health['outbox']> {
  const { storedSends, clock, logger } = core
  if (storedSends === undefined) return { pending: 0, parked: 0 }
  if (state !== 'connected' && core.store === core.transport.store) return uncounted(`the connection is ${state}`)
  const late = Promise.withResolvers<Health['outbox']>()
  const timer = clock.setTimeout(() => late.resolve(uncounted(`the store did not answer for ${countMs} ms`)), countMs)
  const counted = Promise.all([storedSends.count('pending'), storedSends.count('parked')]).then(
    ([pending, parked]) => ({ pending, parked }),
    (error: unknown) => {
      logger.warn({ error }, 'the outbox could not be counted for the health report')
      return uncounted('the store could not be asked')
    },
  )
  try {
    return await Promise.race([counted, late.promise])
  } finally {
    clock.clearTimeout(timer)
  }
}

function queueHealth(queue: BusQueue): Health['queues'][number] {
  const { name, inFlight } = queue
  if (queue.state === 'paused') return { name, state: 'paused', inFlight, reason: 'paused by queue.pause()' }
  if (queue.trouble !== undefined) return { name, state: 'stopped', inFlight, reason: queue.trouble.message }
  if (queue.state !== 'running') return { name, state: 'stopped', inFlight, reason: `the queue is ${queue.state}` }
  if (queue.breakerState === 'open') {
    return { name, state: 'open', inFlight, reason: 'the circuit breaker opened after too many failures' }
  }
  if (queue.breakerState === 'half-open') {
    return { name, state: 'half-open', inFlight, reason: 'the circuit breaker is letting probes through' }
  }
  return { name, state: 'running', inFlight }
}
