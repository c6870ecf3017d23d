import { type BusCore, modeOf } from './bus-core.ts'
import type { BusQueue } from './queue.ts'
import { retriesByCopy } from './retry-policy.ts'

const strength = { none: 0, queue: 1, key: 2 } as const

/** What is wrong with the definitions alone, before anything is connected. */
export function definitionProblems(core: BusCore, queues: Iterable<BusQueue>): string[] {
  const problems: string[] = []
  const handling = new Map<string, string>()
  for (const queue of queues) {
    for (const { contract } of queue.handlers) {
      if (contract.kind === 'event') continue
      const other = handling.get(contract.type)
      if (other !== undefined) {
        problems.push(
          `${contract.kind} ${contract.type} is handled by two queues, ${other} and ${queue.name}; it can have one`,
        )
      }
      handling.set(contract.type, queue.name)
      if (contract.queue !== undefined && contract.queue !== queue.name) {
        problems.push(
          `${contract.kind} ${contract.type} is sent to queue ${contract.queue}, as its contract says, but queue ${queue.name} handles it`,
        )
      }
    }
    const { rawContract } = queue.options
    if (rawContract !== undefined && !queue.handlers.some(one => one.contract.type === rawContract.type)) {
      problems.push(`queue ${queue.name} has rawContract ${rawContract.type}, but no handler for it`)
    }
    if (core.store === undefined && queue.handlers.some(one => one.deduplicate?.at === 'receive')) {
      problems.push(
        `queue ${queue.name} deduplicates at the receiver, which needs a store: give the bus the option \`store\``,
      )
    }
  }
  return problems
}

/** What the transport, now that it is connected, cannot do and the core does not emulate. */
export function capabilityProblems(core: BusCore, queues: Iterable<BusQueue>): string[] {
  const problems: string[] = []
  const { capabilities, transport } = core
  const refuse = (queue: string, feature: string, alternative: string): void => {
    problems.push(`queue ${queue}: transport ${transport.name} has no ${feature}; nearest alternative: ${alternative}`)
  }
  for (const queue of queues) {
    const { options, name } = queue
    const orderBy = options.orderBy ?? 'none'
    if (strength[orderBy] > strength[capabilities.ordering]) {
      refuse(name, `order by ${orderBy}`, `orderBy '${capabilities.ordering}'`)
    }
    for (const handler of queue.handlers) {
      const longest = Math.max(0, ...handler.retry.delayedMs)
      const isRetried = handler.retry.delayedMs.length > 0 && retriesByCopy(core, longest)
      // In an ordered queue the delivery itself waits, so that nothing passes it; elsewhere a copy comes back.
      if (isRetried && orderBy === 'none' && longest > capabilities.delayMaxMs && core.store === undefined) {
        refuse(
          name,
          `delay of ${longest} ms for retries (at most ${capabilities.delayMaxMs})`,
          'the bus option `store`',
        )
      }
      if (handler.deduplicate?.at === 'send' && capabilities.deduplication === 'none') {
        refuse(name, 'deduplication at the send', "deduplicate: { at: 'receive' }")
      }
    }
    if (options.onExpired === 'dead-letter' && capabilities.ttl === 'native' && capabilities.deadLetter === 'none') {
      refuse(name, 'dead letters, and drops what expires by itself', "onExpired: 'discard'")
    }
    if (options.perInstance === true && capabilities.temporaryQueues === 'none') {
      refuse(name, 'temporary queues, which perInstance needs', 'a queue name of its own per instance')
    }
    if (options.ttlMs !== undefined && capabilities.ttl === 'none')
      refuse(name, 'ttlMs of a queue', 'ttlMs of each message')
  }
  return problems
}

/** What a user should know and may accept. */
export function capabilityWarnings(core: BusCore): string[] {
  if (modeOf(core) !== 'direct') return []
  return [
    `transport ${core.transport.name} has no transactions and there is no store: a crash between a handler's outputs and its ` +
      'acknowledgement makes the handler run, and emit, again; give the bus a `store` to prevent that',
  ]
}
