import { BuzzerError } from '../../../message/index.ts'
import type { Match, OutgoingMessage } from '../../index.ts'
import type { MemoryQueue } from './queue.ts'

export interface Binding {
  readonly queue: MemoryQueue
  readonly exclusive: boolean
  readonly match: Match | undefined
}

interface Topic {
  bases: readonly string[]
  readonly bindings: Binding[]
}

interface Route {
  readonly bases: readonly string[]
  /** Bindings of the topic and its bases. */
  readonly bindings: readonly Binding[]
  /** The queues, each once, when no binding has a match: then every message goes the same way. */
  readonly queues: readonly MemoryQueue[] | undefined
}

/** Topics and bindings, and the way from a message to its queues. */
export class Routing {
  readonly #topics = new Map<string, Topic>()
  readonly #routes = new Map<string, Route>()

  get topics(): ReadonlyMap<string, { readonly bases: readonly string[]; readonly bindings: readonly Binding[] }> {
    return this.#topics
  }

  declareTopic(name: string, bases: readonly string[]): void {
    const topic = this.#topic(name)
    topic.bases = [...new Set([...topic.bases, ...bases])]
    this.#routes.clear()
  }

  bind(topic: string, binding: Binding): void {
    const { bindings } = this.#topic(topic)
    const known = bindings.findIndex(one => one.queue === binding.queue && sameMatch(one.match, binding.match))
    if (known >= 0) bindings[known] = binding
    else bindings.push(binding)
    this.#routes.clear()
  }

  unbind(topic: string, queue: MemoryQueue): void {
    const found = this.#topics.get(topic)
    if (found === undefined) return
    remove(found.bindings, binding => binding.queue === queue)
    this.#routes.clear()
  }

  forget(queue: MemoryQueue): void {
    for (const topic of this.#topics.values()) remove(topic.bindings, binding => binding.queue === queue)
    this.#routes.clear()
  }

  /** The queue that an exclusive binding of the topic leads to. */
  exclusiveQueue(topic: string): MemoryQueue | undefined {
    return this.#topics.get(topic)?.bindings.find(binding => binding.exclusive)?.queue
  }

  /** Each queue that takes the message, once. */
  queuesOf(message: OutgoingMessage, topic: string, bases: readonly string[]): readonly MemoryQueue[] {
    const route = this.#route(topic, bases)
    if (route.queues !== undefined) return route.queues
    const queues = new Set<MemoryQueue>()
    for (const binding of route.bindings) {
      if (!queues.has(binding.queue) && accepts(binding.match, message)) queues.add(binding.queue)
    }
    return [...queues]
  }

  #route(topic: string, bases: readonly string[]): Route {
    const known = this.#routes.get(topic)
    if (known !== undefined && (known.bases === bases || sameItems(known.bases, bases))) return known
    const names = new Set([topic, ...bases, ...(this.#topics.get(topic)?.bases ?? [])])
    const bindings = [...names].flatMap(name => this.#topics.get(name)?.bindings ?? [])
    const hasMatch = bindings.some(binding => binding.match !== undefined)
    const queues = hasMatch ? undefined : [...new Set(bindings.map(binding => binding.queue))]
    const route: Route = { bases, bindings, queues }
    // Topics nobody declared are not remembered: a sender could make up any number of names.
    if (this.#topics.has(topic)) this.#routes.set(topic, route)
    return route
  }

  #topic(name: string): Topic {
    let topic = this.#topics.get(name)
    if (topic === undefined) {
      topic = { bases: [], bindings: [] }
      this.#topics.set(name, topic)
    }
    return topic
  }
}

/** An empty match accepts everything and is none. */
export function normalMatch(match: Match | undefined): Match | undefined {
  if (match === undefined) return undefined
  for (const [name, value] of Object.entries(match.headers ?? {})) {
    if (typeof value !== 'string') {
      throw new BuzzerError('BUZZER_FILTER_INVALID', `match on header ${name} is ${typeof value}, not a string`)
    }
  }
  return match.key === undefined && Object.keys(match.headers ?? {}).length === 0 ? undefined : match
}

function accepts(match: Match | undefined, message: OutgoingMessage): boolean {
  if (match === undefined) return true
  if (match.key !== undefined && match.key !== message.key) return false
  const { headers } = match
  for (const name in headers) if (message.headers[name] !== headers[name]) return false
  return true
}

function sameMatch(a: Match | undefined, b: Match | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  if (a.key !== b.key) return false
  const left = Object.entries(a.headers ?? {})
  const right = b.headers ?? {}
  return left.length === Object.keys(right).length && left.every(([name, value]) => right[name] === value)
}

function sameItems(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, at) => item === b[at])
}

function remove<T>(items: T[], test: (item: T) => boolean): void {
  for (let at = items.length - 1; at >= 0; at--) if (test(items[at] as T)) items.splice(at, 1)
}
