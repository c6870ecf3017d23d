import { hasCode } from '../../message/index.ts'
import type { StateChange } from '../../store/index.ts'
import type { BusCore } from '../bus-core.ts'
import type { MessageTracker, MessageTurn, TrackedMessage } from '../message-tracker.ts'
import type { Incoming } from './incoming.ts'

const maxConflicts = 50

/** The trackers that one delivery concerns, and what they say to its turns. Source: spec bus 4.9, http 11. */
export class Following {
  readonly #core: BusCore
  readonly #message: TrackedMessage
  readonly #trackers: readonly MessageTracker[]
  #signals: readonly AbortSignal[] = []

  private constructor(core: BusCore, message: TrackedMessage, trackers: readonly MessageTracker[]) {
    this.#core = core
    this.#message = message
    this.#trackers = trackers
  }

  /** `undefined` for a message that concerns nobody, as most do. */
  static of(core: BusCore, incoming: Incoming): Following | undefined {
    const { tracked } = incoming
    const { trackers } = core
    let concerned: MessageTracker[] | undefined
    // By index: asked for each message, and an iterator is garbage.
    for (let index = 0; index < trackers.length; index++) {
      const tracker = trackers[index] as MessageTracker
      if (tracker.concerns(tracked)) (concerned ??= []).push(tracker)
    }
    return concerned === undefined ? undefined : new Following(core, tracked, concerned)
  }

  /** Whether the owner of the message has asked for its end. */
  get isCancelled(): boolean {
    return this.#signals.some(signal => signal.aborted)
  }

  /** The signals that join `ctx.signal` of the attempt. */
  async starting(attempt: number): Promise<'skip' | readonly AbortSignal[]> {
    const signals: AbortSignal[] = []
    for (const tracker of this.#trackers) {
      const answer = await tracker.starting(this.#message, attempt)
      if (answer === 'skip') return 'skip'
      if (answer.signal !== undefined) signals.push(answer.signal)
    }
    this.#signals = signals
    return signals
  }

  /** The changes that ride on the settlement of this turn. */
  async turn(turn: MessageTurn): Promise<readonly StateChange[]> {
    return (await Promise.all(this.#trackers.map(tracker => tracker.turn(this.#message, turn)))).flat()
  }

  /** Records a turn that has no settlement. Never rejects: what is not recorded is logged, and the handler goes on. */
  async record(turn: MessageTurn): Promise<void> {
    for (let conflicts = 0; conflicts < maxConflicts; conflicts++) {
      try {
        const changes = await this.turn(turn)
        if (changes.length > 0) await this.#core.store?.commit(changes)
        return
      } catch (error) {
        if (hasCode(error, 'BUZZER_CONFLICT')) continue
        this.#core.logger.error({ error, messageId: this.#message.id, turn: turn.as }, 'a turn was not recorded')
        return
      }
    }
  }

  settled(): void {
    for (const tracker of this.#trackers) tracker.settled(this.#message)
  }
}
