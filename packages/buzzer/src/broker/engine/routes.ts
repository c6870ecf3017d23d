import { BuzzerError } from '../../message/index.ts'
import { compileFilter, type Filter } from '../filter/filter.ts'
import { type DecodedMessage, decodeDestination, decodeMessage } from '../protocol/index.ts'

/** What a binding may ask of a message: the contract's `Match` and more. All parts given must accept. */
export interface BrokerMatch {
  readonly key?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly attributes?: Readonly<Record<string, string>>
  /** Wire types. */
  readonly types?: readonly string[]
  /** See filter/filter.ts. */
  readonly sql?: string
}

export interface Binding {
  readonly topic: string
  readonly queue: number
  readonly exclusive: boolean
  readonly match: BrokerMatch | undefined
  /** JSON of `match`, '' without one: what makes two bindings the same. */
  readonly matchText: string
  readonly filter: Filter | undefined
}

/** A destination as sends name it: one queue, or a topic with its bases. */
export type Target =
  | { readonly queue: string }
  | {
      readonly topics: readonly string[]
      /** The queues that get all that comes here, while no binding asks anything of a message. Forgotten with each change. */
      everything: readonly number[] | undefined
    }

interface TopicRoutes {
  readonly all: Binding[]
  readonly plain: Binding[]
  readonly byKey: Map<string, Binding[]>
  readonly byType: Map<string, Binding[]>
  readonly scanned: Binding[]
}

const rememberedTargets = 10_000

const parts: readonly string[] = ['key', 'headers', 'attributes', 'types', 'sql'] satisfies (keyof BrokerMatch)[]

function isTexts(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.values(value).every(text => typeof text === 'string')
}

/**
 * Checks a match and makes a binding of it.
 * @throws BUZZER_INVALID_OPTION, BUZZER_FILTER_INVALID
 */
export function makeBinding(topic: string, queue: number, exclusive: boolean, given: unknown): Binding {
  const match: BrokerMatch | undefined = given ?? undefined
  if (match === undefined) return { topic, queue, exclusive, match, matchText: '', filter: undefined }
  const refuse = (what: string): BuzzerError =>
    new BuzzerError('BUZZER_INVALID_OPTION', `a binding of topic ${JSON.stringify(topic)}: ${what}`, {
      details: { topic, match },
    })
  const unknown = Object.keys(match).filter(name => !parts.includes(name))
  if (unknown.length > 0) throw refuse(`match has no part ${JSON.stringify(unknown[0])}`)
  if (match.key !== undefined && typeof match.key !== 'string') throw refuse('match.key is not a text')
  if (match.headers !== undefined && !isTexts(match.headers)) throw refuse('match.headers are not texts')
  if (match.attributes !== undefined && !isTexts(match.attributes)) throw refuse('match.attributes are not texts')
  if (match.types !== undefined && !(Array.isArray(match.types) && isTexts(match.types))) {
    throw refuse('match.types is not a list of texts')
  }
  const filter = match.sql === undefined ? undefined : compileFilter(match.sql)
  const sorted = Object.fromEntries(
    parts.flatMap(name => (name in match ? [[name, match[name as keyof BrokerMatch]]] : [])),
  )
  return { topic, queue, exclusive, match, matchText: JSON.stringify(sorted), filter }
}

function push<K>(map: Map<K, Binding[]>, key: K, binding: Binding): void {
  const list = map.get(key)
  if (list === undefined) map.set(key, [binding])
  else list.push(binding)
}

/** Who gets what is published. Bindings by key or type are looked up, not scanned. */
export class Routes {
  readonly #topics = new Map<string, TopicRoutes>()
  readonly #targets = new Map<string, Target>()

  /** The target read last, and its bytes: most messages go where the one before them went. */
  #last: { readonly bytes: Buffer; readonly target: Target } | undefined

  /** A destination as it stands in a frame; remembered, because there are few of them. */
  target(source: Buffer, start: number, end: number): Target {
    const last = this.#last
    if (last !== undefined && last.bytes.length === end - start && isAt(last.bytes, source, start)) return last.target
    const text = source.toString('utf8', start, end)
    let target = this.#targets.get(text)
    if (target === undefined) {
      const to = decodeDestination(text)
      target = 'queue' in to ? to : { topics: [to.topic, ...to.bases], everything: undefined }
      if (this.#targets.size >= rememberedTargets) this.#targets.clear()
      this.#targets.set(text, target)
    }
    this.#last = { bytes: Buffer.from(source.subarray(start, end)), target }
    return target
  }

  /** Bindings have changed. */
  #forgetTargets(): void {
    this.#targets.clear()
    this.#last = undefined
  }

  add(binding: Binding): void {
    let routes = this.#topics.get(binding.topic)
    if (routes === undefined) {
      routes = { all: [], plain: [], byKey: new Map(), byType: new Map(), scanned: [] }
      this.#topics.set(binding.topic, routes)
    }
    routes.all.push(binding)
    this.#forgetTargets()
    const { match } = binding
    if (match === undefined) routes.plain.push(binding)
    else if (match.key !== undefined) push(routes.byKey, match.key, binding)
    else if (match.types !== undefined) for (const type of match.types) push(routes.byType, type, binding)
    else routes.scanned.push(binding)
  }

  of(topic: string): readonly Binding[] {
    return this.#topics.get(topic)?.all ?? []
  }

  has(binding: Binding): boolean {
    return this.of(binding.topic).some(known => known.queue === binding.queue && known.matchText === binding.matchText)
  }

  /** Removes the bindings that `unwanted` names. */
  remove(unwanted: (binding: Binding) => boolean): void {
    this.#forgetTargets()
    for (const [topic, routes] of this.#topics) {
      if (!routes.all.some(unwanted)) continue
      this.#topics.delete(topic)
      for (const binding of routes.all) if (!unwanted(binding)) this.add(binding)
    }
  }

  clear(): void {
    this.#topics.clear()
    this.#forgetTargets()
  }

  /** Ids of the queues that get the message at `at`: each once. */
  accepting(target: Exclude<Target, { queue: string }>, bytes: Buffer, at: number): readonly number[] {
    if (target.everything !== undefined) return target.everything
    const accepting = this.#judge(target.topics, bytes, at)
    if (!target.topics.some(topic => this.#asks(topic))) target.everything = accepting
    return accepting
  }

  /** Whether a binding of the topic looks at the message. */
  #asks(topic: string): boolean {
    const routes = this.#topics.get(topic)
    return routes !== undefined && (routes.byKey.size > 0 || routes.byType.size > 0 || routes.scanned.length > 0)
  }

  #judge(topics: readonly string[], bytes: Buffer, at: number): readonly number[] {
    const queues = new Set<number>()
    let decoded: DecodedMessage | undefined
    const message = (): DecodedMessage => (decoded ??= decodeMessage(bytes, at))
    for (const topic of topics) {
      const routes = this.#topics.get(topic)
      if (routes === undefined) continue
      for (const binding of routes.plain) queues.add(binding.queue)
      const consider = (bindings: readonly Binding[] | undefined): void => {
        for (const binding of bindings ?? []) {
          if (!queues.has(binding.queue) && accepts(binding, message())) queues.add(binding.queue)
        }
      }
      if (routes.byKey.size > 0) {
        const { key } = message()
        if (key !== undefined) consider(routes.byKey.get(key))
      }
      if (routes.byType.size > 0) consider(routes.byType.get(message().attributes['type'] ?? ''))
      consider(routes.scanned)
    }
    return [...queues]
  }
}

/** By hand: destinations are short, and a native comparison needs a view for each message. */
function isAt(part: Buffer, bytes: Buffer, start: number): boolean {
  for (let index = 0; index < part.length; index++) if (part[index] !== bytes[start + index]) return false
  return true
}

function containsAll(texts: Readonly<Record<string, string>>, wanted: Readonly<Record<string, string>>): boolean {
  for (const [name, value] of Object.entries(wanted)) {
    if (!Object.hasOwn(texts, name) || texts[name] !== value) return false
  }
  return true
}

function accepts(binding: Binding, message: DecodedMessage): boolean {
  const { match, filter } = binding
  if (match === undefined) return true
  if (match.key !== undefined && match.key !== message.key) return false
  if (match.types !== undefined && !match.types.includes(message.attributes['type'] ?? '')) return false
  if (match.headers !== undefined && !containsAll(message.headers, match.headers)) return false
  if (match.attributes !== undefined && !containsAll(message.attributes, match.attributes)) return false
  if (filter === undefined) return true
  return filter({ header: name => lookUp(message.headers, name), system: name => systemValue(message, name) })
}

/** Property names of a filter are not case-sensitive and come in lower case. */
function lookUp(texts: Readonly<Record<string, string>>, name: string): string | undefined {
  if (Object.hasOwn(texts, name)) return texts[name]
  for (const [own, value] of Object.entries(texts)) if (own.toLowerCase() === name) return value
  return undefined
}

function systemValue(message: DecodedMessage, name: string): string | number | undefined {
  switch (name) {
    case 'id':
      return message.id
    case 'key':
      return message.key
    case 'priority':
      return message.priority
    default:
      return lookUp(message.attributes, name)
  }
}
