import { type AnyCommandContract, type AnyRequestContract, BuzzerError, checkName, hasCode } from '../message/index.ts'
import type { Destination } from '../transport/index.ts'
import type { BusCore } from './bus-core.ts'
import { topicOf } from './emission.ts'

/** What routing must know of the queues of this bus. */
export interface LocalQueues {
  /** The name the queue has at the broker, or `undefined` when this bus does not define it. */
  brokerName(queue: string): string | undefined
  /** The broker name of the queue that handles this command or request. */
  handling(type: string): string | undefined
}

/** Where commands and requests go. Source: spec bus 4.1. */
export class Router {
  readonly #core: BusCore
  readonly #local: LocalQueues
  /** Queues known to exist, by name; each with its one destination object. */
  readonly #known = new Map<string, Destination>()
  readonly #declaring = new Map<string, Promise<Destination>>()

  constructor(core: BusCore, local: LocalQueues) {
    this.#core = core
    this.#local = local
  }

  /** A queue was declared, by this bus or by name. */
  declared(queue: string): Destination {
    let destination = this.#known.get(queue)
    if (destination === undefined) {
      destination = { queue }
      this.#known.set(queue, destination)
    }
    return destination
  }

  knows(queue: string): boolean {
    return this.#known.has(queue)
  }

  /** All names may be gone at the broker: they are declared again before the next send. */
  forget(): void {
    this.#known.clear()
  }

  /**
   * The queue that `error` misses, when it is one that was declared here and was deleted at the broker since: from now on
   * it is declared again before it is sent to.
   */
  missed(error: unknown): string | undefined {
    if (!hasCode(error, 'BUZZER_UNROUTABLE')) return undefined
    const queue = (error as BuzzerError).details['queue']
    return typeof queue === 'string' && this.#known.delete(queue) ? queue : undefined
  }

  /** The error of a refused step as it is to be judged: a queue that was deleted is no reason against another attempt. */
  judged(error: unknown): unknown {
    const queue = this.missed(error)
    if (queue === undefined) return error
    const words = `queue ${queue} was deleted at the broker; the next attempt declares it again`
    return new BuzzerError('BUZZER_UNROUTABLE', words, { cause: error, retryable: true, details: { queue } })
  }

  /** Makes a queue exist by its name at the broker. */
  declareAgain(queue: string): Promise<Destination> {
    return this.#declare(queue)
  }

  /** The destination of a queue by name; a queue that is new to us is declared first. */
  toQueue(queue: string): Destination | Promise<Destination> {
    const name = this.#local.brokerName(queue) ?? queue
    return this.#known.get(name) ?? this.#declare(name)
  }

  /**
   * `to`, else the contract's queue, else the queue of this bus that handles it, else whatever other process bound to the
   * topic of the command: the broker resolves that, and refuses with `BUZZER_UNROUTABLE` when there is none.
   */
  resolve(contract: AnyCommandContract | AnyRequestContract, to?: string): Destination | Promise<Destination> {
    const named = to ?? contract.queue
    if (named !== undefined) return this.toQueue(named)
    const own = this.#local.handling(contract.type)
    if (own !== undefined) return this.#known.get(own) ?? this.#declare(own)
    if (this.#core.capabilities.mandatory === 'native') return topicOf(contract)
    return this.#lookUp(contract)
  }

  /** The name of the queue that a command would go to now, or `undefined`. */
  async queueOf(contract: AnyCommandContract | AnyRequestContract, to?: string): Promise<string | undefined> {
    const named = to ?? contract.queue
    if (named !== undefined) return this.#local.brokerName(named) ?? named
    return this.#local.handling(contract.type) ?? (await this.#boundQueue(contract.type))
  }

  #declare(queue: string): Promise<Destination> {
    let declaring = this.#declaring.get(queue)
    if (declaring === undefined) {
      declaring = this.#declareOnce(queue).finally(() => this.#declaring.delete(queue))
      this.#declaring.set(queue, declaring)
    }
    return declaring
  }

  async #declareOnce(queue: string): Promise<Destination> {
    checkName('queue', queue)
    await this.#core.transport.declare({ queues: [{ name: queue }], topics: [], bindings: [] })
    return this.declared(queue)
  }

  async #boundQueue(type: string): Promise<string | undefined> {
    const bound = (await this.#core.transport.admin?.bindings?.(type)) ?? []
    return (bound.find(binding => binding.exclusive) ?? bound[0])?.queue
  }

  async #lookUp(contract: AnyCommandContract | AnyRequestContract): Promise<Destination> {
    const queue = await this.#boundQueue(contract.type)
    if (queue === undefined) throw unroutable(contract.type)
    return this.declared(queue)
  }
}

function unroutable(type: string): BuzzerError {
  return new BuzzerError(
    'BUZZER_UNROUTABLE',
    `no queue takes ${type}: give the contract a queue, name one with \`to\`, or start the process that handles it first`,
    { details: { type } },
  )
}
