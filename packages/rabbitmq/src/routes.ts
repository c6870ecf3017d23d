import { BuzzerError, hasCode } from 'buzzer'
import type { Destination, OutgoingMessage } from 'buzzer/transport'
import { ControlChannel } from './control-channel.ts'
import { doubtDelayLevels, makeDelayLevels } from './delay-chain.ts'
import { delayRoute, duePattern, longestDelayMs } from './delay-keys.ts'
import { isNotFound, translated } from './errors.ts'
import { bucketCount, bucketOf, bucketWords, checkRoutingKey, targetWord } from './names.ts'
import { unsupported } from './server-version.ts'
import type { TopologyHost, TopologyKeeper } from './topology.ts'

/** Where a message is published. */
export interface Route {
  readonly exchange: string
  readonly routingKey: string
  /** Through the delay chain. */
  readonly isDelayed: boolean
}

/** Where messages to one queue or topic go, once it is known that it is there. */
interface Target {
  readonly exchange: string
  /** The routing key of all its messages; `undefined`: the bucket of the key. */
  readonly routingKey: string | undefined
  readonly word: string
}

/** Names a process sends to; more than that are looked up again. */
const maxTargets = 10_000

/**
 * Finds the way of each message: over the default exchange to a plain queue, over an exchange of their own to lanes and
 * topics, through the delay chain when it has to wait. What is not known to exist is looked up, or made, once.
 */
export class Routes {
  readonly #host: TopologyHost
  readonly #topology: TopologyKeeper
  readonly #queues = new Map<string, Target>()
  readonly #topics = new Map<string, Target & { readonly bases: readonly string[] }>()
  readonly #due = new Set<string>()
  #levels = -1
  #isChainDoubted = false
  #spread = 0

  constructor(host: TopologyHost, topology: TopologyKeeper) {
    this.#host = host
    this.#topology = topology
  }

  /** Nothing is known any more: the server may have lost it, or somebody removed it. */
  forget(): void {
    this.#queues.clear()
    this.#topics.clear()
    this.#due.clear()
    this.#levels = -1
  }

  /** A delayed message met no queue: something of the chain is gone, and is made again with the next delay. */
  doubtDelays(): void {
    this.#due.clear()
    this.#levels = -1
    this.#isChainDoubted = true
  }

  forgetQueue(queue: string): void {
    this.#queues.delete(queue)
    this.#due.delete(targetWord('queue', queue))
  }

  /** The way of the message, if all on it is known to exist. */
  known(message: OutgoingMessage, now: number): Route | undefined {
    const target = this.#known(message.to)
    if (target === undefined) return undefined
    const { deliverAt } = message
    if (deliverAt !== undefined && deliverAt > now) return this.#delayed(message, target, deliverAt - now)
    return { exchange: target.exchange, routingKey: target.routingKey ?? this.#bucket(message), isDelayed: false }
  }

  /**
   * Makes `known` answer, for a while at least.
   * @throws BUZZER_UNROUTABLE when there is no such queue, BUZZER_DISCONNECTED, BUZZER_UNSUPPORTED for a delay
   */
  async resolve(message: OutgoingMessage, now: number): Promise<void> {
    const { to, deliverAt } = message
    if (this.#known(to) === undefined) {
      if ('queue' in to) await this.#resolveQueue(to.queue)
      else await this.#resolveTopic(to.topic, to.bases)
    }
    if (deliverAt !== undefined && deliverAt > now) await this.#resolveDelay(message, deliverAt - now)
  }

  #known(to: Destination): Target | undefined {
    if ('queue' in to) return this.#queues.get(to.queue)
    const target = this.#topics.get(to.topic)
    return target !== undefined && (target.bases === to.bases || sameItems(target.bases, to.bases)) ? target : undefined
  }

  async #resolveQueue(queue: string): Promise<void> {
    const { names } = this.#host
    try {
      const layout = await this.#topology.layoutOf(queue)
      const isSpread = layout.as === 'lanes'
      if (this.#queues.size >= maxTargets) this.#queues.clear()
      this.#queues.set(queue, {
        exchange: isSpread ? names.lanes(queue) : '',
        routingKey: isSpread ? undefined : names.queue(queue),
        word: targetWord('queue', queue),
      })
    } catch (error) {
      if (hasCode(error, 'BUZZER_QUEUE_NOT_FOUND')) throw unroutable(`queue ${queue} does not exist`, { queue })
      throw error
    }
  }

  async #resolveTopic(topic: string, bases: readonly string[]): Promise<void> {
    await this.#topology.ensureTopic(topic, bases)
    if (this.#topics.size >= maxTargets) this.#topics.clear()
    const exchange = this.#host.names.topic(topic)
    this.#topics.set(topic, { exchange, routingKey: undefined, word: targetWord('topic', topic), bases })
  }

  #delayed(message: OutgoingMessage, target: Target, delayMs: number): Route | undefined {
    const way = delayRoute(delayMs)
    if (way === undefined || way.level > this.#levels || !this.#due.has(target.word)) return undefined
    return {
      exchange: this.#host.names.delay(way.level),
      routingKey: `${way.words}.${target.word}.${this.#bucket(message)}`,
      isDelayed: true,
    }
  }

  async #resolveDelay(message: OutgoingMessage, delayMs: number): Promise<void> {
    const { names, options } = this.#host
    const longest = options.delays === 'chain' ? longestDelayMs : 0
    if (delayMs > longest) {
      throw unsupported(
        `a delay of ${delayMs} ms is more than ${longest} (delays: '${options.delays}'); nearest alternative: the bus option \`store\``,
        {
          delayMs,
          longestMs: longest,
        },
      )
    }
    const target = this.#known(message.to)
    const way = delayRoute(delayMs)
    if (target === undefined || way === undefined) return
    checkRoutingKey(`${way.words}.${target.word}.${bucketWords[0]}`, target.word)
    if (way.level <= this.#levels && this.#due.has(target.word)) return
    if (options.declare === 'create') {
      const control = new ControlChannel(this.#host.controlConnection())
      try {
        if (this.#isChainDoubted) await doubtDelayLevels(control, names)
        this.#isChainDoubted = false
        if (way.level > this.#levels) await makeDelayLevels(control, names, way.level)
        const pattern = duePattern(target.word)
        await control.run(channel =>
          target.exchange === ''
            ? channel.bindQueue(target.routingKey as string, names.due, pattern)
            : channel.bindExchange(target.exchange, names.due, pattern),
        )
      } catch (error) {
        if (isNotFound(error)) throw unroutable(`${target.word.slice(2)} is gone`, {})
        throw translated(error, 'the declaration of the delay chain')
      } finally {
        await control.close()
      }
    }
    this.#levels = Math.max(this.#levels, way.level)
    if (this.#due.size >= maxTargets) this.#due.clear()
    this.#due.add(target.word)
  }

  /** Messages without key are spread evenly. */
  #bucket({ key }: OutgoingMessage): string {
    return bucketWords[key === undefined ? this.#spread++ % bucketCount : bucketOf(key)] as string
  }
}

export function unroutable(why: string, details: Readonly<Record<string, unknown>>): BuzzerError {
  return new BuzzerError('BUZZER_UNROUTABLE', `no queue takes the message: ${why}`, { details })
}

function sameItems(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, at) => item === b[at])
}
