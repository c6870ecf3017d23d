import type { Bus } from '../bus/index.ts'
import type { GatewayCore } from './core.ts'
import { within } from './within.ts'

type Check = 'pass' | 'fail'

const storeTimeoutMs = 2_000

/** 200 while the event loop turns. */
export function livez(): Response {
  return Response.json({ status: 'pass' }, { headers: { 'Cache-Control': 'no-store' } })
}

/** Whether this process should get requests. Names of checks only: what fails in them is for the log. Source: spec http 9. */
export async function readyz(core: GatewayCore, bus: Bus<unknown>): Promise<Response> {
  const checks: Record<string, Check> = {
    store: (await reachesStore(core)) ? 'pass' : 'fail',
    transport: (await isConnected(core, bus)) ? 'pass' : 'fail',
    draining: core.closing.aborted || core.port.state === 'stopping' ? 'fail' : 'pass',
  }
  const status: Check = Object.values(checks).every(check => check === 'pass') ? 'pass' : 'fail'
  return Response.json(
    { status, checks },
    {
      status: status === 'pass' ? 200 : 503,
      headers: { 'Cache-Control': 'no-store', ...(status === 'pass' ? {} : { 'Retry-After': '5' }) },
    },
  )
}

async function isConnected({ port, clock }: GatewayCore, bus: Bus<unknown>): Promise<boolean> {
  if (port.state !== 'running') return false
  try {
    const health = await within(clock, storeTimeoutMs, bus.health(), () => new Error('the bus does not answer'))
    return health.status !== 'unhealthy'
  } catch {
    return false
  }
}

async function reachesStore({ inside, clock, port }: GatewayCore): Promise<boolean> {
  if (port.state !== 'running') return false
  // Any id will do: the question is whether an answer comes.
  const reading = inside.tracking.records.get('00000000-0000-0000-0000-000000000000')
  try {
    await within(clock, storeTimeoutMs, reading, () => new Error('the store does not answer'))
    return true
  } catch {
    return false
  }
}
