import { BuzzerError } from 'buzzer'
import type { QueueDeclaration, QueueLimits, Topology } from 'buzzer/transport'
import { rowsOf, type SqlHandle } from '../sql-handle.ts'
import { queueNotFound } from './intake.ts'
import { limitColumns, matchText, type TopologyView } from './topology.ts'

const options = Object.keys(limitColumns) as (keyof QueueLimits)[]
const columns = Object.values(limitColumns)
const columnTypes = `name text, order_by text, max_deliveries integer, ttl_ms double precision, dead_letter_expired boolean,
  dead_letter_ttl_ms double precision, deduplication_window_ms double precision, max_messages bigint, max_bytes bigint,
  expires_after_idle_ms double precision`
const longestWindowMs = 7 * 24 * 3_600_000

/**
 * Judges a declaration as a whole and changes nothing.
 * @throws BUZZER_TOPOLOGY_CONFLICT, BUZZER_INVALID_NAME, BUZZER_INVALID_OPTION, BUZZER_FILTER_INVALID, BUZZER_QUEUE_NOT_FOUND
 */
export function checkTopology(topology: Topology, present: TopologyView): void {
  const declared = new Map<string, QueueDeclaration>()
  for (const declaration of topology.queues) {
    const { name } = declaration
    checkName(name)
    checkLimits(name, declaration)
    for (const known of [present.queues.get(name)?.limits, declared.get(name)]) {
      if (known !== undefined) checkSame(name, known, declaration)
    }
    declared.set(name, { ...declared.get(name), ...declaration })
  }
  const exclusive = new Map<string, string>()
  for (const { topic, queue, exclusive: isExclusive, match } of topology.bindings) {
    if (!declared.has(queue) && !present.queues.has(queue)) throw queueNotFound(queue)
    for (const [name, value] of Object.entries(match?.headers ?? {})) {
      if (typeof value !== 'string') {
        throw new BuzzerError('BUZZER_FILTER_INVALID', `match on header ${name} is ${typeof value}, not a string`)
      }
    }
    if (!isExclusive) continue
    const holder = exclusive.get(topic) ?? present.exclusiveQueue(topic)?.name
    if (holder !== undefined && holder !== queue) throw conflict(`topic ${topic}`, 'its one queue', holder, queue)
    exclusive.set(topic, queue)
  }
}

/** What of a declaration is not there yet, in words; nothing when all is. */
export function missingOf(topology: Topology, present: TopologyView): readonly string[] {
  const missing: string[] = []
  for (const declaration of topology.queues) {
    const known = present.queues.get(declaration.name)
    if (known === undefined) missing.push(`queue ${declaration.name} does not exist`)
    for (const option of options) {
      const [has, wants] = [known?.limits[option], declaration[option]]
      if (known !== undefined && wants !== undefined && has !== wants) {
        missing.push(`queue ${declaration.name} has ${option} ${JSON.stringify(has)}, not ${JSON.stringify(wants)}`)
      }
    }
  }
  for (const { name, bases } of topology.topics) {
    const known = present.topics.get(name)
    const absent = bases.filter(base => known?.bases.includes(base) !== true)
    if (known === undefined) missing.push(`topic ${name} does not exist`)
    else if (absent.length > 0) missing.push(`topic ${name} lacks the bases ${absent.join(', ')}`)
  }
  for (const { topic, queue, exclusive, match } of topology.bindings) {
    const known = present.topics
      .get(topic)
      ?.bindings.find(one => one.queue.name === queue && matchText(one.match) === matchText(match))
    if (known === undefined) missing.push(`topic ${topic} is not bound to queue ${queue}`)
    else if (known.exclusive !== exclusive)
      missing.push(`topic ${topic} is bound to queue ${queue} with exclusive ${known.exclusive}`)
  }
  return missing
}

/** Writes a declaration that was judged, in the transaction that judged it. Names get `prefix`. */
export async function writeTopology(
  handle: SqlHandle,
  quotedSchema: string,
  prefix: string,
  topology: Topology,
  present: TopologyView,
): Promise<void> {
  const queues = topology.queues.map(declaration => rowOf(prefix + declaration.name, declaration))
  if (queues.length > 0) {
    await handle.query(
      `insert into ${quotedSchema}.queue as present (name, ${columns.join(', ')})
      select name, ${columns.map(column => `(array_agg(${column}) filter (where ${column} is not null))[1]`).join(', ')}
      from json_to_recordset($1::json) as x(${columnTypes}) group by name order by name
      on conflict (name) do update set ${columns.map(column => `${column} = coalesce(excluded.${column}, present.${column})`).join(', ')},
        room_messages = null, room_bytes = null`,
      [JSON.stringify(queues)],
    )
  }
  const topics = new Map<string, Set<string>>()
  for (const { name, bases } of [
    ...topology.topics,
    ...topology.bindings.map(({ topic }) => ({ name: topic, bases: [] })),
  ]) {
    const known = topics.get(name) ?? new Set(present.topics.get(name)?.bases)
    for (const base of bases) known.add(base)
    topics.set(name, known)
  }
  if (topics.size > 0) {
    await handle.query(
      `insert into ${quotedSchema}.topic (name, bases) select name, bases from json_to_recordset($1::json) as x(name text, bases json)
      order by name on conflict (name) do update set bases = excluded.bases`,
      [JSON.stringify([...topics].map(([name, bases]) => ({ name: prefix + name, bases: [...bases] })))],
    )
  }
  const bindings = new Map(
    topology.bindings.map(({ topic, queue, exclusive, match }) => {
      const row = { topic: prefix + topic, queue: prefix + queue, match: matchText(match), exclusive }
      return [`${topic}\0${queue}\0${row.match}`, row]
    }),
  )
  if (bindings.size > 0) {
    await handle.query(
      `insert into ${quotedSchema}.binding (topic, queue, match, exclusive)
      select x.topic, q.id, x.match, x.exclusive
      from json_to_recordset($1::json) as x(topic text, queue text, match text, exclusive boolean)
      join ${quotedSchema}.queue q on q.name = x.queue order by 1, 2, 3
      on conflict (topic, queue, match) do update set exclusive = excluded.exclusive`,
      [JSON.stringify([...bindings.values()])],
    )
  }
  await handle.query(`update ${quotedSchema}.broker set topology = topology + 1`)
}

/** Options of a queue as its columns, those left out as null. */
export function rowOf(name: string, limits: QueueLimits): Record<string, unknown> {
  const row: Record<string, unknown> = { name }
  for (const option of options) row[limitColumns[option]] = limits[option] ?? null
  return row
}

/** Locks the topology against all who change it, and reads it. */
export async function lockTopology(handle: SqlHandle, quotedSchema: string): Promise<void> {
  await rowsOf(handle, `select topology::text from ${quotedSchema}.broker for update`)
}

/** @throws BUZZER_INVALID_OPTION */
export function checkLimits(name: string, limits: QueueLimits): void {
  const { deduplicationWindowMs = 0, maxDeliveries = 1 } = limits
  if (!(deduplicationWindowMs >= 0 && deduplicationWindowMs <= longestWindowMs)) {
    throw invalid(name, 'deduplicationWindowMs', deduplicationWindowMs, 'from 0 to 7 days')
  }
  if (!Number.isInteger(maxDeliveries) || maxDeliveries < 1 || maxDeliveries > 2 ** 31 - 1) {
    throw invalid(name, 'maxDeliveries', maxDeliveries, 'an integer ≥ 1')
  }
  for (const option of ['ttlMs', 'deadLetterTtlMs', 'expiresAfterIdleMs'] as const) {
    const value = limits[option]
    if (value !== undefined && !(value > 0)) throw invalid(name, option, value, 'a positive number of milliseconds')
  }
  for (const option of ['maxMessages', 'maxBytes'] as const) {
    const value = limits[option]
    if (value !== undefined && (!Number.isSafeInteger(value) || value < 0))
      throw invalid(name, option, value, 'an integer ≥ 0')
  }
}

function checkName(name: string): void {
  if (name.endsWith('.dead')) {
    throw new BuzzerError(
      'BUZZER_INVALID_NAME',
      `${name} cannot be declared: names ending in .dead are dead-letter queues, which exist with their queues`,
      { details: { queue: name } },
    )
  }
  if (typeof name !== 'string' || name.length === 0 || name.includes('\0') || !name.isWellFormed()) {
    throw new BuzzerError('BUZZER_INVALID_NAME', `${JSON.stringify(name)} is no name for a queue`, {
      details: { queue: name },
    })
  }
}

function checkSame(queue: string, present: QueueLimits, given: QueueLimits): void {
  for (const option of options) {
    const [has, wants] = [present[option], given[option]]
    if (has !== undefined && wants !== undefined && has !== wants) throw conflict(`queue ${queue}`, option, has, wants)
  }
}

function conflict(what: string, option: string, present: unknown, given: unknown): BuzzerError {
  return new BuzzerError(
    'BUZZER_TOPOLOGY_CONFLICT',
    `${what} has ${option} ${JSON.stringify(present)}; the declaration says ${JSON.stringify(given)}. Nothing was changed`,
    { details: { what, option, present, given } },
  )
}

function invalid(queue: string, option: string, value: unknown, wanted: string): BuzzerError {
  return new BuzzerError('BUZZER_INVALID_OPTION', `${option} ${String(value)} of queue ${queue} is not ${wanted}`, {
    details: { queue, option, value },
  })
}
