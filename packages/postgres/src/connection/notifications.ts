import { createHash } from 'node:crypto'
import type { Clock, Logger } from 'buzzer'
import type { Database } from './database.ts'
import { Listener } from './listener.ts'

/** Who wants to hear of one topic. */
export interface TopicListener {
  onPayload(payload: string): void
  /** Listening begins, again or for the first time: what was said in between is lost, so look yourself. */
  onGap(): void
}

/**
 * Notifications of one schema over one listening connection: every part of the package has a topic of its own in the
 * payload. They are hints, may be lost at any time, and are never sent in the caller's transaction.
 */
export class Notifications {
  readonly #database: Database
  readonly #channel: string
  readonly #listener: Listener
  readonly #topics = new Map<string, Set<TopicListener>>()

  constructor(database: Database, clock: Clock, logger: Logger) {
    this.#database = database
    this.#channel = channelOf(database.schema)
    this.#listener = new Listener(database, this.#channel, clock, logger, {
      onPayload: payload => this.#hear(payload),
      onListening: () => {
        for (const listeners of this.#topics.values()) for (const listener of listeners) listener.onGap()
      },
    })
    this.#listener.start()
  }

  /** Whether notifications come through now; while they do not, only polling finds what is new. */
  get isHearing(): boolean {
    return this.#listener.isHearing
  }

  /** `topic`: a letter or word without colon. */
  listen(topic: string, listener: TopicListener): Disposable {
    const listeners = this.#topics.get(topic) ?? new Set()
    listeners.add(listener)
    this.#topics.set(topic, listeners)
    return { [Symbol.dispose]: () => void listeners.delete(listener) }
  }

  async notify(topic: string, payload: string): Promise<void> {
    await this.#database.query('select pg_notify($1::text, $2::text)::text', [this.#channel, `${topic}:${payload}`])
  }

  close(): void {
    this.#listener.close()
  }

  #hear(text: string): void {
    const colon = text.indexOf(':')
    const listeners = this.#topics.get(text.slice(0, colon))
    if (listeners !== undefined) for (const listener of listeners) listener.onPayload(text.slice(colon + 1))
  }
}

/** One channel for each schema; a channel's name has at most 63 bytes, and a schema's may have as many. */
function channelOf(schema: string): string {
  return `buzzer_${createHash('sha256').update(schema).digest('hex').slice(0, 16)}`
}
