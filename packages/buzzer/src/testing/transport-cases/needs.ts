import type { Capabilities } from '../../transport/index.ts'
import type { TransportWorld } from '../conformance/transport-world.ts'

type Need = (world: TransportWorld) => string | undefined

/** Applies when the transport claims what `test` asks; `claim` names it in the report. */
function claims(claim: string, test: (capabilities: Capabilities) => boolean): Need {
  return world => (test(world.capabilities) ? undefined : `the transport does not claim ${claim}`)
}

export const deadLetters: Need = claims("deadLetter 'native'", one => one.deadLetter === 'native')
export const keyOrder: Need = claims("ordering 'key'", one => one.ordering === 'key')
export const queueOrder: Need = claims("ordering 'queue'", one => one.ordering !== 'none')
export const atomicSettling: Need = claims("transactions 'settle-and-send'", one => one.transactions !== 'none')
export const counting: Need = claims("redelivery 'counted'", one => one.redelivery === 'counted')
export const deduplication: Need = claims("deduplication 'native'", one => one.deduplication === 'native')
export const delays: Need = claims('delayMaxMs of a minute', one => one.delayMaxMs >= 60_000)
export const ttl: Need = claims("ttl 'native'", one => one.ttl === 'native')
export const priorities: Need = claims('10 priorities', one => one.priorities >= 10)
export const mandatory: Need = claims("mandatory 'native'", one => one.mandatory === 'native')
export const temporaryQueues: Need = claims("temporaryQueues 'native'", one => one.temporaryQueues === 'native')
export const cancelling: Need = world =>
  world.capabilities.cancel !== 'native'
    ? "the transport does not claim cancel 'native'"
    : world.producer.admin?.cancelScheduled === undefined
      ? 'admin.cancelScheduled is absent'
      : delays(world)

export const callerTransactions: Need = world =>
  world.capabilities.transactions !== 'caller'
    ? "the transport does not claim transactions 'caller'"
    : world.options.transaction === undefined
      ? 'the option transaction was not given to the suite'
      : undefined

export const ownStore: Need = world => (world.producer.store === undefined ? 'the transport has no store' : undefined)

export const restart: Need = world =>
  world.options.restartBroker === undefined ? 'the option restartBroker was not given to the suite' : undefined

/** Applies when the transport has an admin with these calls. */
export function admin(...calls: readonly (keyof NonNullable<TransportWorld['producer']['admin']>)[]): Need {
  return world => {
    if (world.producer.admin === undefined) return 'the transport has no admin'
    const absent = calls.find(call => world.producer.admin?.[call] === undefined)
    return absent === undefined ? undefined : `admin.${absent} is absent`
  }
}

export function all(...needs: readonly Need[]): Need {
  return world => {
    for (const need of needs) {
      const reason = need(world)
      if (reason !== undefined) return reason
    }
    return undefined
  }
}
