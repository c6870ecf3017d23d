import { BuzzerError } from '../../message/index.ts'
import type { QueueLimits, Topology } from '../../transport/index.ts'
import { recordPriority, toWireError, writeLockLost, writeReceiverEnded } from '../protocol/index.ts'
import { readLayout, recordStart } from '../storage/chunk-format.ts'
import type { Core } from './core.ts'
import { readKeys } from '../storage/message-key.ts'
import { Queue } from './queue.ts'
import { givenOptions, mergeOptions } from './queue-options.ts'
import { type Binding, makeBinding } from './routes.ts'
import { abandonGroup } from './settle.ts'

const maxNameLength = 255

function queueNotFound(name: string): BuzzerError {
  return new BuzzerError('BUZZER_QUEUE_NOT_FOUND', `queue ${JSON.stringify(name)} does not exist`, {
    details: { queue: name },
  })
}

/** @throws BUZZER_QUEUE_NOT_FOUND */
export function findQueue(core: Core, name: string): Queue {
  const queue = core.queues.get(name)
  if (queue === undefined) throw queueNotFound(name)
  return queue
}

function checkQueueName(name: string): void {
  const wrong =
    typeof name !== 'string' || name === '' || name.length > maxNameLength
      ? `it is 1 to ${maxNameLength} characters`
      : name.endsWith('.dead')
        ? 'a dead-letter queue exists with its queue and cannot be declared'
        : undefined
  if (wrong === undefined) return
  throw new BuzzerError('BUZZER_INVALID_NAME', `the queue name ${JSON.stringify(name)} is not valid: ${wrong}`, {
    details: { what: 'queue', name },
  })
}

/**
 * Makes queues and bindings exist: one step, all or nothing, because everything is judged before anything is changed.
 * @throws BUZZER_TOPOLOGY_CONFLICT, BUZZER_INVALID_NAME, BUZZER_INVALID_OPTION, BUZZER_FILTER_INVALID, BUZZER_QUEUE_NOT_FOUND
 */
export function declare(core: Core, topology: Topology, onConflict: 'refuse' | 'update'): void {
  const wanted = new Map<string, QueueLimits>()
  for (const declaration of topology.queues) {
    const { name } = declaration
    checkQueueName(name)
    const known = wanted.get(name) ?? core.queues.get(name)?.declared ?? {}
    wanted.set(name, mergeOptions(name, known, givenOptions(name, declaration), onConflict))
  }
  const bindings: { readonly queue: string; readonly binding: Binding }[] = []
  for (const { topic, queue, exclusive, match } of topology.bindings) {
    if (!wanted.has(queue) && !core.queues.has(queue)) throw queueNotFound(queue)
    const binding = makeBinding(topic, core.queues.get(queue)?.id ?? 0, exclusive, match)
    if (exclusive && onConflict === 'refuse') checkExclusive(core, topic, queue, bindings)
    bindings.push({ queue, binding })
  }
  for (const [name, options] of wanted) {
    const queue = core.queues.get(name)
    if (queue === undefined) createQueue(core, name, options)
    else {
      queue.usedAt = core.monotonic
      changeOptions(core, queue, options)
    }
  }
  for (const { queue, binding } of bindings) bind(core, { ...binding, queue: findQueue(core, queue).id })
}

function checkExclusive(
  core: Core,
  topic: string,
  queue: string,
  declared: readonly { readonly queue: string; readonly binding: Binding }[],
): void {
  const inFile = core.routes
    .of(topic)
    .find(({ exclusive, queue: id }) => exclusive && core.queuesById.get(id)?.name !== queue)
  const other =
    (inFile === undefined ? undefined : core.queuesById.get(inFile.queue)?.name) ??
    declared.find(({ binding, queue: name }) => binding.topic === topic && binding.exclusive && name !== queue)?.queue
  if (other === undefined) return
  throw new BuzzerError(
    'BUZZER_TOPOLOGY_CONFLICT',
    `topic ${JSON.stringify(topic)} is bound exclusively to queue ${JSON.stringify(other)}, declared now for ${JSON.stringify(queue)}: a command or request has one queue`,
    { details: { topic, option: 'exclusive', existing: other, declared: queue } },
  )
}

function createQueue(core: Core, name: string, options: QueueLimits): void {
  core.file.begin()
  const id = core.topology.nextQueueId()
  core.topology.insertQueue({ id, name, options: JSON.stringify(options) })
  const queue = new Queue(id, name, options, core.chunks)
  queue.usedAt = core.monotonic
  core.queues.set(name, queue)
  core.queuesById.set(id, queue)
  watchIdle(core, queue)
}

function watchIdle(core: Core, queue: Queue): void {
  core.agenda.watchAt(queue.usedAt + queue.settings.expiresAfterIdleMs)
}

export function bind(core: Core, binding: Binding): void {
  const known = core.routes
    .of(binding.topic)
    .find(({ queue, matchText }) => queue === binding.queue && matchText === binding.matchText)
  if (known !== undefined && known.exclusive === binding.exclusive) return
  core.file.begin()
  core.topology.bind({
    topic: binding.topic,
    queue: binding.queue,
    match: binding.matchText,
    exclusive: binding.exclusive,
  })
  core.routes.remove(
    other =>
      other === known ||
      (binding.exclusive && other.exclusive && other.topic === binding.topic && other.queue !== binding.queue),
  )
  core.routes.add(binding)
}

export function unbind(core: Core, topic: string, queue: Queue): void {
  core.file.begin()
  core.topology.unbind(topic, queue.id)
  core.routes.remove(binding => binding.topic === topic && binding.queue === queue.id)
}

function changeOptions(core: Core, queue: Queue, options: QueueLimits): void {
  const text = JSON.stringify(options)
  if (text === JSON.stringify(queue.declared)) return
  const before = queue.settings
  const orderBy = options.orderBy ?? 'none'
  if (orderBy !== before.orderBy && queue.counts.locked > 0) {
    throw new BuzzerError(
      'BUZZER_TOPOLOGY_CONFLICT',
      `the order of queue ${JSON.stringify(queue.name)} cannot change from '${before.orderBy}' to '${orderBy}' while ${queue.counts.locked} of its deliveries are open`,
      { details: { queue: queue.name, option: 'orderBy', existing: before.orderBy, declared: orderBy } },
    )
  }
  core.flush()
  core.file.begin()
  core.topology.updateQueue(queue.id, text)
  queue.setOptions(options)
  const { settings } = queue
  if (settings.orderBy !== before.orderBy) reorder(core, queue)
  if (settings.ttlMs < before.ttlMs) {
    core.chunks.lowerExpiry(queue.id, settings.ttlMs)
    for (const chunk of queue.chunks.values())
      chunk.expires = Math.min(chunk.expires, chunk.enqueuedAt + settings.ttlMs)
    core.agenda.nextExpiry = core.chunks.nextExpiry()
  }
  if (settings.deadLetterTtlMs !== before.deadLetterTtlMs) {
    core.aside.setDeadTtl(queue.id, Number.isFinite(settings.deadLetterTtlMs) ? settings.deadLetterTtlMs : null)
    core.agenda.nextExpiry = Math.min(core.agenda.nextExpiry, core.aside.nextExpiry())
  }
  core.toDispatch.add(queue)
  watchIdle(core, queue)
}

/** Moves the chunks of a queue to the lanes of its new order. */
function reorder(core: Core, queue: Queue): void {
  const { orderBy } = queue.settings
  const lanes = new Set<number>()
  for (const row of Array.from(core.chunks.ofQueue(queue.id))) {
    const bodies = core.chunks.bodies(row.id)
    const layout = bodies === undefined ? undefined : readLayout(bodies)
    let lane = 0
    let keys: Float64Array | undefined
    if (bodies !== undefined && layout !== undefined) {
      const first = Array.from({ length: row.count }, (_, index) => index).find(
        index => recordStart(bodies, layout, index + 1) > recordStart(bodies, layout, index),
      )
      if (orderBy === 'none' && first !== undefined) lane = recordPriority(bodies, recordStart(bodies, layout, first))
      if (orderBy === 'key') keys = readKeys(bodies, layout)
    }
    core.chunks.move(queue.id, row.lane, row.id, lane, keys)
    lanes.add(lane)
  }
  core.settleChunks()
  queue.reload(lanes)
}

/** Changes options on purpose; `null` takes an option back to its default. */
export function alter(core: Core, queue: Queue, options: QueueLimits): void {
  const merged: Record<string, unknown> = { ...queue.declared, ...givenOptions(queue.name, options) }
  for (const [name, value] of Object.entries(options)) if (value === null) delete merged[name]
  queue.usedAt = core.monotonic
  changeOptions(core, queue, merged)
}

/** Removes a queue with its messages, dead letters and bindings; its receivers end with `error`. */
export function deleteQueue(core: Core, queue: Queue, error: BuzzerError): void {
  core.flush()
  const wire = toWireError(error)
  const lost = new Map<(typeof queue.receivers)[number]['session'], number[]>()
  for (const slot of core.deliveries.slots(receiver => receiver.queue === queue)) {
    const { session } = core.deliveries.receiver(slot)
    const group = core.deliveries.group(slot)
    if (group !== undefined) abandonGroup(core, group, slot)
    const tokens = lost.get(session) ?? []
    tokens.push(core.deliveries.token(slot))
    lost.set(session, tokens)
    core.deliveries.free(slot)
  }
  for (const [session, tokens] of lost) writeLockLost(session.out, tokens)
  for (const receiver of [...queue.receivers, ...queue.deadReceivers]) {
    receiver.state = 'ended'
    receiver.session.receivers.delete(receiver.id)
    writeReceiverEnded(receiver.session.out, receiver.id, wire)
  }
  queue.receivers.length = 0
  queue.deadReceivers.length = 0
  for (const chunk of queue.chunks.values()) {
    chunk.live = 0
    core.uncache(chunk)
  }
  queue.chunks.clear()
  core.file.begin()
  core.chunks.dropQueue(queue.id)
  core.aside.dropQueue(queue.id)
  core.topology.deleteQueue(queue.id)
  core.routes.remove(binding => binding.queue === queue.id)
  core.liveBytes -= queue.counts.bytes
  core.queues.delete(queue.name)
  core.queuesById.delete(queue.id)
  core.toDispatch.delete(queue)
}
