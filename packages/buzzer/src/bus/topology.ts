import type { AnyContract } from '../message/index.ts'
import {
  type BindingDeclaration,
  deadLetterQueue,
  type QueueDeclaration,
  type TopicDeclaration,
  type Topology,
} from '../transport/index.ts'
import { routesOf } from './handler.ts'
import type { BusQueue } from './queue.ts'

/** The bus counts deliveries itself; the broker's own limit is out of reach and the same for ever. Source: spec bus 2. */
const outOfReach = 1_000_000
/** A queue of one instance is gone that long after the instance. */
const perInstanceIdleMs = 60_000

/** What the queues of a bus need at the broker. */
export function topologyOf(queues: Iterable<BusQueue>, deadLetters: 'native' | 'none'): Topology {
  const declared: QueueDeclaration[] = []
  const topics = new Map<string, TopicDeclaration>()
  const bindings: BindingDeclaration[] = []
  for (const queue of queues) {
    declared.push(declarationOf(queue))
    if (deadLetters === 'none') declared.push({ name: deadLetterQueue(queue.brokerName) })
    for (const handler of queue.handlers) {
      for (const { reads } of routesOf(handler)) {
        topics.set(reads.type, { name: reads.type, bases: basesOf(reads) })
        const { match } = handler
        bindings.push({
          topic: reads.type,
          queue: queue.brokerName,
          exclusive: reads.kind !== 'event',
          ...(match === undefined ? {} : { match }),
        })
      }
    }
  }
  return { queues: declared, topics: [...topics.values()], bindings }
}

function basesOf(contract: AnyContract): readonly string[] {
  return contract.kind === 'event' ? contract.bases.map(base => base.type) : []
}

function declarationOf(queue: BusQueue): QueueDeclaration {
  const { options, sendWindow } = queue
  return {
    name: queue.brokerName,
    maxDeliveries: outOfReach,
    ...(options.orderBy === undefined ? {} : { orderBy: options.orderBy }),
    ...(options.ttlMs === undefined ? {} : { ttlMs: options.ttlMs }),
    ...(options.onExpired === 'dead-letter' ? { deadLetterExpired: true } : {}),
    ...(options.deadLetterTtlMs === undefined ? {} : { deadLetterTtlMs: options.deadLetterTtlMs }),
    ...(options.maxMessages === undefined ? {} : { maxMessages: options.maxMessages }),
    ...(options.maxBytes === undefined ? {} : { maxBytes: options.maxBytes }),
    ...(sendWindow === undefined ? {} : { deduplicationWindowMs: sendWindow.windowMs }),
    ...(options.perInstance === true ? { expiresAfterIdleMs: perInstanceIdleMs } : {}),
  }
}
