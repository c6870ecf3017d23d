import { BuzzerError, isBuzzerError, type Logger } from 'buzzer'
import type { BindingDeclaration, Match, OrderBy, QueueDeclaration, Topology } from 'buzzer/transport'
import type { AmqpConnection } from './amqplib-connection.ts'
import { ControlChannel } from './control-channel.ts'
import { inequivalence, isNotFound, queueNotFound, translated } from './errors.ts'
import { bucketCount, bucketWords, type Names } from './names.ts'
import { keyHeader } from './wire-message.ts'
import type { ResolvedOptions } from './options.ts'
import { sealQueues } from './seal.ts'
import { checkDeclaration, isByNameAlone, optionNamed, queueArguments } from './queue-arguments.ts'
import { type ServerBehaviour, unsupported } from './server-version.ts'

/**
 * How a queue is laid out at the server. `plain`: one queue of that name. `single`: the same with a single active consumer.
 * `lanes`: that many queues behind an exchange that spreads keys over them.
 */
export type Layout =
  | { readonly as: 'plain' }
  | { readonly as: 'single' }
  | { readonly as: 'lanes'; readonly count: number }

const plain: Layout = Object.freeze({ as: 'plain' })
const single: Layout = Object.freeze({ as: 'single' })

/** What the declarer needs of its transport. */
export interface TopologyHost {
  readonly names: Names
  readonly options: ResolvedOptions
  readonly logger: Logger
  /** Known from the first connection on. */
  readonly behaviour: ServerBehaviour
  /** @throws BUZZER_DISCONNECTED, BUZZER_NOT_RUNNING */
  controlConnection(): AmqpConnection
}

/** Makes queues, exchanges and bindings exist, remembers what it made, and makes it again when it may be gone. */
export class TopologyKeeper {
  readonly #host: TopologyHost
  readonly #queues = new Map<string, QueueDeclaration>()
  readonly #topics = new Map<string, Set<string>>()
  readonly #bindings = new Map<string, BindingDeclaration>()
  readonly #layouts = new Map<string, Layout>()

  constructor(host: TopologyHost) {
    this.#host = host
  }

  /** Queues that this transport declared. */
  get declaredQueues(): Iterable<string> {
    return this.#queues.keys()
  }

  /** Topics that this transport declared or published to. */
  get declaredTopics(): Iterable<string> {
    return this.#topics.keys()
  }

  declaration(queue: string): QueueDeclaration | undefined {
    return this.#queues.get(queue)
  }

  /** The layout if it is known already. */
  knownLayout(queue: string): Layout | undefined {
    return this.#layouts.get(queue)
  }

  /** Everything is to be looked up again: the server may have lost it. */
  forgetLayouts(): void {
    this.#layouts.clear()
  }

  forgetLayout(queue: string): void {
    this.#layouts.delete(queue)
  }

  /** Deleted on purpose: not to be made again. */
  forgetQueue(queue: string): void {
    this.#queues.delete(queue)
    this.#layouts.delete(queue)
    for (const [id, binding] of this.#bindings) if (binding.queue === queue) this.#bindings.delete(id)
  }

  /** One idempotent step: conflicts are found before anything is made. Source: spec transports 2.1. */
  async declare(topology: Topology): Promise<void> {
    const { options } = this.#host
    const queues = merged(topology.queues)
    for (const declaration of queues) checkDeclaration(declaration, options, this.#host.behaviour)
    for (const { match } of topology.bindings) checkMatch(match)
    if (options.declare === 'create') {
      await this.#withControl(async control => {
        const missing: QueueDeclaration[] = []
        for (const declaration of queues) if (!(await this.#exists(control, declaration))) missing.push(declaration)
        for (const binding of topology.bindings) if (binding.exclusive) await this.#own(control, binding)
        for (const declaration of missing) await this.#make(control, declaration)
        if (missing.length > 0) await this.#seal(control)
        for (const { name, bases } of topology.topics) await this.#makeTopic(control, name, bases)
        for (const binding of topology.bindings) await this.#bind(control, binding)
      })
    } else if (options.declare === 'verify')
      await this.#withControl(control => this.#verify(control, { ...topology, queues }))
    else for (const { name } of queues) this.#layouts.delete(name)
    this.#remember(queues, topology)
  }

  /** Makes again all that was declared. A queue that is there differently now is reported, never replaced. */
  async restore(): Promise<void> {
    this.forgetLayouts()
    if (this.#host.options.declare !== 'create') return
    await this.#withControl(async control => {
      await this.#restoreQueues(control, this.#queues.values())
      for (const [name, bases] of this.#topics) await this.#makeTopic(control, name, [...bases])
      for (const binding of this.#bindings.values()) await this.#bind(control, binding)
    })
  }

  /** Makes a queue of ours again, with its bindings. False when it is not ours to make. */
  async restoreQueue(queue: string): Promise<boolean> {
    const declaration = this.#queues.get(queue)
    this.#layouts.delete(queue)
    if (declaration === undefined || this.#host.options.declare !== 'create') return false
    await this.#withControl(async control => {
      await this.#restoreQueues(control, [declaration])
      for (const binding of this.#bindings.values()) if (binding.queue === queue) await this.#bind(control, binding)
    })
    return true
  }

  async #restoreQueues(control: ControlChannel, declarations: Iterable<QueueDeclaration>): Promise<void> {
    let isMade = false
    for (const declaration of declarations) if (await this.#restoreQueue(control, declaration)) isMade = true
    if (isMade) await this.#seal(control)
  }

  /** True when it was gone and has been made. */
  async #restoreQueue(control: ControlChannel, declaration: QueueDeclaration): Promise<boolean> {
    try {
      if (await this.#exists(control, declaration)) return false
      await this.#make(control, declaration)
      return true
    } catch (error) {
      if (!isBuzzerError(error) || error.code !== 'BUZZER_TOPOLOGY_CONFLICT') throw error
      this.#host.logger.error({ error, queue: declaration.name }, 'a queue came back different from what was declared')
      return false
    }
  }

  async #seal(control: ControlChannel): Promise<void> {
    if (this.#host.options.queueType === 'quorum') await sealQueues(control, this.#host.names)
  }

  /**
   * How a queue is laid out.
   * @throws BUZZER_QUEUE_NOT_FOUND
   */
  async layoutOf(queue: string): Promise<Layout> {
    const known = this.#layouts.get(queue)
    if (known !== undefined) return known
    const layout = await this.#withControl(control => this.#findLayout(control, queue))
    if (layout === undefined) throw queueNotFound(queue)
    return layout
  }

  /** Whether receivers of a `plain` or `single` queue must take turns, to keep an order that the queue itself does not keep. */
  async needsTurns(queue: string, orderBy: OrderBy): Promise<boolean> {
    if (orderBy === 'none') return false
    const layout = await this.layoutOf(queue)
    if (layout.as === 'lanes') return false
    if (layout.as === 'single') return false
    const declaration = this.#queues.get(queue) ?? { name: queue }
    const isSingle = await this.#withControl(control => this.#isSingle(control, declaration))
    if (isSingle) this.#layouts.set(queue, single)
    return !isSingle
  }

  /** Makes a topic's exchange, and its bases', exist. */
  async ensureTopic(topic: string, bases: readonly string[]): Promise<void> {
    if (this.#host.options.declare !== 'create') return
    await this.#withControl(control => this.#makeTopic(control, topic, bases))
    this.#rememberTopic(topic, bases)
  }

  async #withControl<T>(work: (control: ControlChannel) => Promise<T>): Promise<T> {
    const control = new ControlChannel(this.#host.controlConnection())
    try {
      return await work(control)
    } catch (error) {
      throw translated(error, 'a declaration')
    } finally {
      await control.close()
    }
  }

  /**
   * Whether the queue is there, as declared.
   * @throws BUZZER_TOPOLOGY_CONFLICT when it is there differently
   */
  async #exists(control: ControlChannel, declaration: QueueDeclaration): Promise<boolean> {
    const { name, orderBy } = declaration
    const found = await this.#findLayout(control, name)
    if (found === undefined) return false
    if (isByNameAlone(declaration)) return true
    if (found.as === 'lanes') {
      if (orderBy !== undefined && orderBy !== 'key') throw conflict(name, 'orderBy', 'key', orderBy)
      return this.#lanesAreComplete(control, declaration, found.count)
    }
    const asked = await this.#assertPlain(control, declaration, orderBy === 'queue')
    if (asked === undefined) {
      if (orderBy === 'queue') this.#layouts.set(name, single)
      return true
    }
    if (asked.argument !== 'x-single-active-consumer') {
      throw conflict(name, optionNamed(asked.argument), asked.present, asked.wanted)
    }
    if (asked.wanted !== 'true') {
      // It has the order `queue`; left out, an option means "as it is".
      if (orderBy !== undefined) throw conflict(name, 'orderBy', 'queue', orderBy)
      const again = await this.#assertPlain(control, declaration, true)
      if (again !== undefined) throw conflict(name, optionNamed(again.argument), again.present, again.wanted)
      this.#layouts.set(name, single)
      return true
    }
    // Declared by name alone before its order was known: its receivers take turns. The rest must fit all the same.
    const rest = await this.#assertPlain(control, declaration, false)
    if (rest !== undefined) throw conflict(name, optionNamed(rest.argument), rest.present, rest.wanted)
    return true
  }

  async #findLayout(control: ControlChannel, queue: string): Promise<Layout | undefined> {
    const known = this.#layouts.get(queue)
    if (known !== undefined) return known
    const { names } = this.#host
    let layout: Layout | undefined
    if (await isThere(control.ask(channel => channel.checkQueue(names.queue(queue))))) layout = plain
    else if (await isThere(control.ask(channel => channel.checkExchange(names.lanes(queue))))) {
      layout = { as: 'lanes', count: await this.#countLanes(control, queue) }
    }
    if (layout !== undefined) this.#layouts.set(queue, layout)
    return layout
  }

  async #countLanes(control: ControlChannel, queue: string): Promise<number> {
    let count = 0
    while (count < bucketCount) {
      const name = this.#host.names.lane(queue, count)
      if (!(await isThere(control.ask(channel => channel.checkQueue(name))))) break
      count++
    }
    return count
  }

  /** Declares the queue, which exists. Answers what differs, if anything does. */
  async #assertPlain(
    control: ControlChannel,
    declaration: QueueDeclaration,
    isSingle: boolean,
  ): ReturnType<typeof assertQueue> {
    const { names, options } = this.#host
    return assertQueue(control, names.queue(declaration.name), queueArguments(declaration, options, isSingle))
  }

  async #isSingle(control: ControlChannel, declaration: QueueDeclaration): Promise<boolean> {
    const asked = await this.#assertPlain(control, declaration, true)
    if (asked === undefined) return true
    if (asked.argument === 'x-single-active-consumer') return false
    throw conflict(declaration.name, optionNamed(asked.argument), asked.present, asked.wanted)
  }

  async #make(control: ControlChannel, declaration: QueueDeclaration): Promise<void> {
    const { name, orderBy } = declaration
    if (orderBy === 'key') return this.#makeLanes(control, declaration, this.#host.options.keyPartitions)
    const asked = await this.#assertPlain(control, declaration, orderBy === 'queue')
    if (asked === undefined) {
      this.#layouts.set(name, orderBy === 'queue' ? single : plain)
      return
    }
    // Somebody made it meanwhile: it must be what we want, like one that was there before.
    if (!(await this.#exists(control, declaration)))
      throw conflict(name, optionNamed(asked.argument), asked.present, asked.wanted)
  }

  async #makeLanes(control: ControlChannel, declaration: QueueDeclaration, count: number): Promise<void> {
    const { names, options } = this.#host
    const { name } = declaration
    const exchange = names.lanes(name)
    await control.run(channel => channel.assertExchange(exchange, 'topic', { durable: true }))
    for (let at = 0; at < count; at++) {
      const asked = await assertQueue(control, names.lane(name, at), queueArguments(declaration, options, true))
      if (asked !== undefined) throw conflict(name, optionNamed(asked.argument), asked.present, asked.wanted)
    }
    for (let bucket = 0; bucket < bucketCount; bucket++) {
      const pattern = `#.${bucketWords[bucket]}`
      await control.run(channel => channel.bindQueue(names.lane(name, bucket % count), exchange, pattern))
    }
    this.#layouts.set(name, { as: 'lanes', count })
  }

  /** Lanes found: their number and arguments fit, or it is a conflict; false when one of ours is missing. */
  async #lanesAreComplete(control: ControlChannel, declaration: QueueDeclaration, found: number): Promise<boolean> {
    const { names, options } = this.#host
    const { name } = declaration
    const wanted = options.keyPartitions
    if (found !== wanted) {
      // Lanes behind a gap: one of them was deleted, and its number is still the declared one.
      const hasLast = await isThere(control.ask(channel => channel.checkQueue(names.lane(name, wanted - 1))))
      const hasMore = await isThere(control.ask(channel => channel.checkQueue(names.lane(name, wanted))))
      if (found > wanted || hasMore || (found > 0 && !hasLast)) throw conflict(name, 'keyPartitions', found, wanted)
      this.#layouts.delete(name)
      return false
    }
    for (let at = 0; at < found; at++) {
      const asked = await assertQueue(control, names.lane(name, at), queueArguments(declaration, options, true))
      if (asked !== undefined) throw conflict(name, optionNamed(asked.argument), asked.present, asked.wanted)
    }
    return true
  }

  /** A durable note of which queue a topic belongs to. It is the server that compares: no two clients can both succeed. */
  async #own(control: ControlChannel, { topic, queue }: BindingDeclaration): Promise<void> {
    const asked = await control.ask(channel =>
      channel.assertExchange(this.#host.names.owner(topic), 'fanout', {
        durable: true,
        internal: true,
        // The one argument of an exchange that every version compares. Nothing is ever published here.
        alternateExchange: queue,
      }),
    )
    if (!('refusal' in asked)) return
    const differing = inequivalence(asked.refusal)
    if (differing === undefined) throw asked.refusal
    throw new BuzzerError(
      'BUZZER_TOPOLOGY_CONFLICT',
      `topic ${topic} belongs to queue ${differing.present}; the declaration binds queue ${queue}. If the queue was renamed, ` +
        `delete the exchange ${this.#host.names.owner(topic)} once. Nothing was changed`,
      { details: { what: `topic ${topic}`, option: 'queue', present: differing.present, given: queue } },
    )
  }

  async #makeTopic(control: ControlChannel, topic: string, bases: readonly string[]): Promise<void> {
    const { names } = this.#host
    for (const name of [topic, ...bases]) await assertFanout(control, names.topic(name), name)
    for (const base of bases)
      await control.run(channel => channel.bindExchange(names.topic(base), names.topic(topic), ''))
  }

  async #bind(control: ControlChannel, { topic, queue, match }: BindingDeclaration): Promise<void> {
    const { names } = this.#host
    const layout = await this.#findLayout(control, queue)
    if (layout === undefined) {
      throw new BuzzerError('BUZZER_QUEUE_NOT_FOUND', `topic ${topic} cannot be bound: there is no queue ${queue}`, {
        details: { queue, topic },
      })
    }
    await assertFanout(control, names.topic(topic), topic)
    let source = names.topic(topic)
    let matching: Record<string, string> | undefined
    if (match !== undefined && (match.key !== undefined || Object.keys(match.headers ?? {}).length > 0)) {
      source = names.match(topic)
      await control.run(channel => channel.assertExchange(source, 'headers', { durable: true }))
      await control.run(channel => channel.bindExchange(source, names.topic(topic), ''))
      // `all` alone would pass over headers that begin with x-.
      matching = {
        'x-match': 'all-with-x',
        ...match.headers,
        ...(match.key === undefined ? {} : { [keyHeader]: match.key }),
      }
    }
    await control.run(channel =>
      layout.as === 'lanes'
        ? channel.bindExchange(names.lanes(queue), source, '', matching)
        : channel.bindQueue(names.queue(queue), source, '', matching),
    )
  }

  /** Everything that is missing or different, in one error. Bindings cannot be seen over AMQP. */
  async #verify(control: ControlChannel, topology: Topology): Promise<void> {
    const problems: string[] = []
    for (const declaration of topology.queues) {
      try {
        if (!(await this.#exists(control, declaration))) problems.push(`queue ${declaration.name} is missing`)
      } catch (error) {
        if (!isBuzzerError(error) || error.code !== 'BUZZER_TOPOLOGY_CONFLICT') throw error
        problems.push(error.message)
      }
    }
    for (const { name } of topology.topics) {
      const exchange = this.#host.names.topic(name)
      if (!(await isThere(control.ask(channel => channel.checkExchange(exchange))))) {
        problems.push(`topic ${name} is missing (exchange ${exchange})`)
      }
    }
    if (problems.length > 0) {
      throw new BuzzerError(
        'BUZZER_TOPOLOGY_CONFLICT',
        `declare: 'verify' found ${problems.length} problems:\n${problems.join('\n')}`,
        {
          details: { problems },
        },
      )
    }
  }

  #remember(queues: readonly QueueDeclaration[], topology: Topology): void {
    for (const declaration of queues) {
      const { name } = declaration
      this.#queues.set(name, { ...this.#queues.get(name), ...declaration })
    }
    for (const { name, bases } of topology.topics) this.#rememberTopic(name, bases)
    for (const binding of topology.bindings) this.#bindings.set(JSON.stringify(binding), binding)
  }

  #rememberTopic(name: string, bases: readonly string[]): void {
    const known = this.#topics.get(name)
    if (known === undefined) this.#topics.set(name, new Set(bases))
    else for (const base of bases) known.add(base)
  }
}

async function isThere(asking: Promise<{ readonly value: unknown } | { readonly refusal: unknown }>): Promise<boolean> {
  const asked = await asking
  if (!('refusal' in asked)) return true
  if (isNotFound(asked.refusal)) return false
  throw asked.refusal
}

async function assertQueue(
  control: ControlChannel,
  queue: string,
  queueArguments: Readonly<Record<string, unknown>>,
): Promise<ReturnType<typeof inequivalence>> {
  const asked = await control.ask(channel => channel.assertQueue(queue, { durable: true, arguments: queueArguments }))
  if (!('refusal' in asked)) return undefined
  const differing = inequivalence(asked.refusal)
  if (differing === undefined) throw asked.refusal
  return differing
}

async function assertFanout(control: ControlChannel, exchange: string, topic: string): Promise<void> {
  const asked = await control.ask(channel => channel.assertExchange(exchange, 'fanout', { durable: true }))
  if (!('refusal' in asked)) return
  const differing = inequivalence(asked.refusal)
  if (differing === undefined) throw asked.refusal
  throw new BuzzerError(
    'BUZZER_TOPOLOGY_CONFLICT',
    `topic ${topic} needs the exchange ${exchange} with ${differing.argument} ${differing.wanted}; it is there with ${differing.present}. ` +
      'Give the transport a prefix, or delete that exchange',
    {
      details: {
        what: `topic ${topic}`,
        option: differing.argument,
        present: differing.present,
        given: differing.wanted,
      },
    },
  )
}

/** Declarations of one queue in one call are one; the time to live of its dead letters belongs to the queue that holds them. */
function merged(declarations: readonly QueueDeclaration[]): readonly QueueDeclaration[] {
  const byName = new Map<string, QueueDeclaration>()
  for (const declaration of declarations) {
    const before = byName.get(declaration.name)
    for (const [option, value] of Object.entries(declaration)) {
      const known = before?.[option as keyof QueueDeclaration]
      if (known !== undefined && value !== undefined && known !== value)
        throw conflict(declaration.name, option, known, value)
    }
    byName.set(declaration.name, { ...before, ...declaration })
  }
  for (const { name, deadLetterTtlMs } of declarations) {
    const dead = byName.get(`${name}.dead`)
    if (deadLetterTtlMs === undefined) continue
    if (dead === undefined) {
      throw unsupported(
        `queue ${name}: deadLetterTtlMs is the time to live of queue ${name}.dead, which the same call has to declare, as the bus does`,
        { queue: name, feature: 'deadLetterTtlMs' },
      )
    }
    byName.set(dead.name, { ...dead, ttlMs: deadLetterTtlMs })
  }
  return [...byName.values()]
}

function checkMatch(match: Match | undefined): void {
  for (const [name, value] of Object.entries(match?.headers ?? {})) {
    if (typeof value !== 'string') {
      throw new BuzzerError('BUZZER_FILTER_INVALID', `match on header ${name} is ${typeof value}, not a string`)
    }
  }
}

function conflict(queue: string, option: string, present: unknown, given: unknown): BuzzerError {
  return new BuzzerError(
    'BUZZER_TOPOLOGY_CONFLICT',
    `queue ${queue} has ${option} ${JSON.stringify(present)}; the declaration says ${JSON.stringify(given)}. Nothing was changed`,
    { details: { what: `queue ${queue}`, option, present, given } },
  )
}
