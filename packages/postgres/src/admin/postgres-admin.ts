import { BuzzerError } from 'buzzer'
import type { MessageState, TransportAdmin } from 'buzzer/transport'
import { checkLimits, rowOf } from '../queues/declaration.ts'
import type { QueueBroker } from '../queues/queue-broker.ts'
import { reorder } from '../queues/reordering.ts'
import { limitColumns, matchText } from '../queues/topology.ts'
import { rowsOf } from '../sql-handle.ts'
import { examine } from './examine.ts'
import { figuresOf } from './figures.ts'
import { peekAt } from './peek.ts'
import { purge } from './purge.ts'
import { isRank, redrive } from './redrive.ts'

/** What an operator may ask of the queues in a database: everything in the contract. `open` rejects when not connected. */
export function postgresAdmin(open: () => QueueBroker): Required<TransportAdmin> {
  const target = async (name: string): Promise<{ broker: QueueBroker; id: number; schema: string }> => {
    const broker = open()
    const { id } = await broker.queueNamed(name)
    return { broker, id, schema: broker.session.database.quotedSchema }
  }
  return {
    async queues() {
      const { session } = open()
      const { database, options, time } = session
      const { rows } = await database.run(connection =>
        connection.query(`select ${database.quotedSchema}.drop_idle($1::float8) as is_any`, [options.leaseMs]),
      )
      const view = await session.readTopology()
      if ((rows[0] as { is_any: boolean }).is_any) session.logger.debug({}, 'idle queues were deleted')
      return database.repeat(connection =>
        figuresOf(connection, database.quotedSchema, [...view.queues.values()], options.leaseMs, time),
      )
    },
    async queue(name) {
      const { session } = open()
      const { database, options, time } = session
      const { id } = await open().queueNamed(name)
      const queue = (await session.readTopology()).queuesById.get(Math.abs(id))
      const figures =
        queue &&
        (await database.repeat(connection =>
          figuresOf(connection, database.quotedSchema, [queue], options.leaseMs, time),
        ))
      const found = figures?.[0]
      if (found === undefined)
        throw new BuzzerError('BUZZER_QUEUE_NOT_FOUND', `there is no queue ${name}`, { details: { queue: name } })
      if (id > 0) return found
      return { ...found, name, ready: found.dead, locked: 0, scheduled: 0, parked: 0, dead: found.dead }
    },
    async peek(name, { state, after, limit = 50 } = {}) {
      if (!Number.isInteger(limit) || limit < 1 || limit > 1_000)
        throw invalid('limit', limit, 'an integer from 1 to 1,000')
      if (after !== undefined && !isRank(after)) throw invalid('after', after, 'the `next` of the page before')
      const { broker, id, schema } = await target(name)
      const { database, time } = broker.session
      const question = { queue: id, state, after: after === undefined ? -1 : Number(after), limit }
      return database.repeat(connection => peekAt(connection, schema, question, time))
    },
    async purge(name, { state = 'ready', before } = {}) {
      if (state === 'locked') throw invalid('state', state, "'ready', 'scheduled', 'parked' or 'dead'")
      const { broker, id, schema } = await target(name)
      const { database, time } = broker.session
      const until = before === undefined ? undefined : time.toServer(before)
      return database.transaction(handle => purge(handle, schema, id, state satisfies MessageState, until))
    },
    async redrive(name, { ids, limit = Number.MAX_SAFE_INTEGER, to } = {}) {
      const source = await target(name)
      const goal = await target(to ?? name)
      if (to !== undefined && goal.id < 0) throw invalid('to', to, 'a queue, not a dead-letter queue')
      const { broker } = source
      return broker.withTopology(
        (handle, view) => {
          const queue = view.queuesById.get(Math.abs(goal.id))
          if (queue === undefined) throw new BuzzerError('BUZZER_QUEUE_NOT_FOUND', `there is no queue ${to ?? name}`)
          return redrive(handle, broker.session, view, { source: Math.abs(source.id), target: queue.name, ids, limit })
        },
        [Math.abs(goal.id)],
      )
    },
    async deleteDead(name, { ids } = {}) {
      const { broker, id, schema } = await target(name)
      const rows = await broker.session.database.run(connection =>
        rowsOf<{ count: number }>(
          connection,
          `with gone as (
            delete from ${schema}.single where queue = $1::integer and leased_until is null
              and ($2::json is null or rank in (select value::bigint from json_array_elements_text($2::json) as x(value)))
            returning 1
          ) select count(*)::integer as count from gone`,
          [-Math.abs(id), ids === undefined ? null : JSON.stringify(ids.filter(isRank))],
        ),
      )
      return rows[0]?.count ?? 0
    },
    async cancelScheduled(messageId) {
      const { session } = open()
      const { rows } = await session.database.run(connection => connection.query(session.sql.cancel, [[messageId]]))
      return (rows[0] as { count: number }).count > 0
    },
    async unpark(name, ids) {
      const { broker, id, schema } = await target(name)
      if (id < 0) return 0
      const rows = await broker.session.database.run(connection =>
        rowsOf<{ count: number }>(
          connection,
          `with back as (
            update ${schema}.single set state = 0 where queue = $1::integer and state = 3
              and rank in (select value::bigint from json_array_elements_text($2::json) as x(value)) returning 1
          ) select count(*)::integer as count from back`,
          [id, JSON.stringify(ids.filter(isRank))],
        ),
      )
      broker.hint(id)
      return rows[0]?.count ?? 0
    },
    async alter(name, options) {
      const { broker, id, schema } = await target(name)
      if (id < 0) throw invalid('queue', name, 'a queue; its dead-letter queue goes with it')
      checkLimits(name, options)
      const given = Object.entries(rowOf(name, options)).filter(
        ([column, value]) => column !== 'name' && value !== null,
      )
      await broker.changeTopology(async (handle, view) => {
        const present = view.queuesById.get(id)
        if (present !== undefined && options.orderBy !== undefined && options.orderBy !== present.orderBy) {
          const [open] = await rowsOf<{ open: number }>(
            handle,
            `select ((select count(*) from ${schema}.chunk where queue = $1::integer and leased_until is not null)
              + (select count(*) from ${schema}.single where queue = $1::integer and leased_until is not null)
              + (select count(*) from ${schema}.lane where queue = $1::integer and leased_until is not null))::integer as open`,
            [id],
          )
          if ((open?.open ?? 0) > 0) {
            throw new BuzzerError(
              'BUZZER_INVALID_OPTION',
              `orderBy of queue ${name} cannot change while deliveries of it are open`,
              {
                details: { queue: name, option: 'orderBy' },
              },
            )
          }
          await reorder(handle, schema, id, options.orderBy)
        }
        if (given.length > 0) {
          await handle.query(
            `update ${schema}.queue set room_messages = null, room_bytes = null, used_at = clock_timestamp(), ${given.map(([column], at) => `${column} = $${at + 2}::${columnType(column)}`).join(', ')}
            where id = $1::integer`,
            [id, ...given.map(([, value]) => value)],
          )
        }
        await reckonExpiry(handle, schema, id)
      })
      broker.hint(id)
    },
    async deleteQueue(name) {
      const { broker, id, schema } = await target(name)
      if (id < 0) throw invalid('queue', name, 'a queue; its dead-letter queue goes with it')
      await broker.changeTopology(handle => handle.query(`select ${schema}.drop_queue($1::integer)::text`, [id]))
    },
    async bind(topic, name, match) {
      const { broker, id } = await target(name)
      if (id < 0) throw invalid('queue', name, 'a queue, not a dead-letter queue')
      const binding = { topic, queue: name, exclusive: false, ...(match === undefined ? {} : { match }) }
      const topology = { queues: [], topics: [{ name: topic, bases: [] }], bindings: [binding] }
      await broker.declareNow(topology)
    },
    async unbind(topic, name) {
      const { broker, id, schema } = await target(name)
      await broker.changeTopology(handle =>
        handle.query(`delete from ${schema}.binding where topic = $1::text and queue = $2::integer`, [
          broker.session.options.prefix + topic,
          id,
        ]),
      )
    },
    async bindings(topic) {
      const view = await open().session.readTopology()
      return (view.topics.get(topic)?.bindings ?? []).map(({ queue, exclusive, match }) => ({
        queue: queue.name,
        exclusive,
        ...(matchText(match) === '' || match === undefined ? {} : { match }),
      }))
    },
    async examine() {
      const { session } = open()
      return session.database.repeat(connection =>
        examine(connection, session.database.schema, session.database.quotedSchema),
      )
    },
  }
}

/** Expiry as the queue's options have it now. */
async function reckonExpiry(handle: Parameters<typeof rowsOf>[0], schema: string, id: number): Promise<void> {
  await handle.query(
    `update ${schema}.chunk c set expires_at = c.accepted_at + ${schema}.span(q.ttl_ms) from ${schema}.queue q
    where q.id = $1::integer and c.queue = q.id and c.expires_at is distinct from c.accepted_at + ${schema}.span(q.ttl_ms)`,
    [id],
  )
  await handle.query(
    `update ${schema}.single s set expires_at = case when s.queue < 0 then s.dead_at + ${schema}.span(q.dead_letter_ttl_ms)
      else least(s.own_expires_at, s.available_at + ${schema}.span(q.ttl_ms)) end
    from ${schema}.queue q where q.id = $1::integer and s.queue in (q.id, -q.id)`,
    [id],
  )
}

function columnType(column: string): string {
  if (column === limitColumns.orderBy) return 'text'
  if (column === limitColumns.deadLetterExpired) return 'boolean'
  if (column === limitColumns.maxDeliveries) return 'integer'
  if (column === limitColumns.maxMessages || column === limitColumns.maxBytes) return 'bigint'
  return 'float8'
}

function invalid(option: string, value: unknown, wanted: string): BuzzerError {
  return new BuzzerError('BUZZER_INVALID_OPTION', `${option} ${JSON.stringify(value)} is not ${wanted}`, {
    details: { option, value },
  })
}
