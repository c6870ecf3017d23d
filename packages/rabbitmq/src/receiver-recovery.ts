import { BuzzerError, type Clock, hasCode, isBuzzerError, type Logger } from 'buzzer'
import type { AmqpConnection } from './amqplib-connection.ts'
import { failureOf } from './errors.ts'
import type { RabbitReceiver } from './receiver.ts'

/** How a server ends the connection of whoever consumes a quorum queue without a leader. */
const internalError = 541

/** Pause before a queue that cannot be consumed is tried; twice as long each time. */
const firstPauseMs = 1_000
const longestPauseMs = 30_000
/** Patience with the server's goodbye to a trial. */
const goodbyeMs = 1_000

/** A receiver that waits for its next trial. */
interface Aside {
  readonly error: BuzzerError
  readonly tries: number
  readonly timer: unknown
}

export interface RecoveryHost {
  readonly clock: Clock
  readonly logger: Logger
  readonly random: () => number
  /** The connection of the receivers; `undefined` while it is away. */
  connection(): AmqpConnection | undefined
  /** Another one, to try a queue on. */
  openTrial(): Promise<AmqpConnection>
  /** It can consume no more, for good. */
  ended(receiver: RabbitReceiver, error: BuzzerError): void
  /** `trouble` has come or gone. */
  onTrouble(): void
}

/**
 * Lets receivers consume again when their connection is back.
 *
 * A queue that has lost most of its replicas has no leader, and a server ends the connection of whoever wants to consume it:
 * all other receivers on it lose what they have open, again and again while that lasts. So the receiver that brought the
 * connection down is found, set aside, and tried on a connection of its own until that works. Of several that were opened
 * together it is not known which it was: the next time they are opened one after the other.
 */
export class ReceiverRecovery {
  readonly #host: RecoveryHost
  readonly #opening = new Set<RabbitReceiver>()
  readonly #aside = new Map<RabbitReceiver, Aside>()
  #isCareful = false

  constructor(host: RecoveryHost) {
    this.#host = host
  }

  /** What keeps a receiver from its queue; of several the first. */
  get trouble(): BuzzerError | undefined {
    for (const { error } of this.#aside.values()) return error
    return undefined
  }

  /** The connection is back. */
  reopen(receivers: Iterable<RabbitReceiver>): void {
    const all = [...receivers].filter(receiver => !this.#aside.has(receiver))
    if (this.#isCareful) void this.#openInTurn(all)
    else for (const receiver of all) void this.#open(receiver)
  }

  /** The connection is gone, and `error` says why. */
  lost(error: Error): void {
    if (failureOf(error).code !== internalError) return
    const [suspect, another] = this.#opening
    if (suspect === undefined) return
    if (another === undefined) this.#setAside(suspect, error)
    else this.#isCareful = true
  }

  /** It was stopped, or has ended. */
  forget(receiver: RabbitReceiver): void {
    this.#host.clock.clearTimeout(this.#aside.get(receiver)?.timer)
    this.#aside.delete(receiver)
  }

  close(): void {
    for (const receiver of this.#aside.keys()) this.forget(receiver)
  }

  async #openInTurn(receivers: readonly RabbitReceiver[]): Promise<void> {
    // The connection went: its return begins again.
    for (const receiver of receivers) if (!(await this.#open(receiver))) return
    this.#isCareful = false
  }

  /** False when the connection went meanwhile. */
  async #open(receiver: RabbitReceiver): Promise<boolean> {
    this.#opening.add(receiver)
    try {
      await receiver.reopen()
    } catch (error) {
      if (hasCode(error, 'BUZZER_DISCONNECTED')) return false
      this.#host.ended(receiver, asBuzzerError(error))
    } finally {
      this.#opening.delete(receiver)
    }
    return true
  }

  #setAside(receiver: RabbitReceiver, cause: unknown): void {
    const { clock, logger, random } = this.#host
    const { queue } = receiver
    const before = this.#aside.get(receiver)
    const tries = (before?.tries ?? 0) + 1
    const pauseMs = Math.min(longestPauseMs, firstPauseMs * 2 ** (tries - 1)) * (0.5 + 0.5 * random())
    const timer = clock.setTimeout(() => void this.#try(receiver), pauseMs)
    if (before !== undefined) {
      this.#aside.set(receiver, { ...before, tries, timer })
      return
    }
    const error = new BuzzerError(
      'BUZZER_BROKER_FAILED',
      `queue ${queue} cannot be consumed: the server ends the connection over it (${failureOf(cause).text}), as it does when most of ` +
        'the replicas of a queue are away. It is tried until that works; the other queues go on',
      { cause, details: { queue } },
    )
    this.#aside.set(receiver, { error, tries, timer })
    logger.error({ error, queue }, error.message)
    this.#host.onTrouble()
  }

  async #try(receiver: RabbitReceiver): Promise<void> {
    const failure = await this.#consumeAlone(receiver)
    if (!this.#aside.has(receiver)) return
    if (failure !== undefined) return this.#setAside(receiver, failure)
    this.#aside.delete(receiver)
    this.#host.logger.info({ queue: receiver.queue }, 'the queue can be consumed again')
    this.#host.onTrouble()
    if (this.#host.connection() !== undefined) void this.#open(receiver)
  }

  /** Why its queues cannot be consumed. A refusal in words is none: it is for the receiver itself. */
  async #consumeAlone(receiver: RabbitReceiver): Promise<unknown> {
    let connection: AmqpConnection | undefined
    try {
      connection = await this.#host.openTrial()
      const channel = await connection.openChannel()
      // One message of each may be handed out here, and goes back at once.
      await channel.prefetch(1, false)
      for (const queue of receiver.serverQueues) await channel.consume(queue, () => {})
      return undefined
    } catch (error) {
      const { code } = failureOf(error)
      return code === undefined || code === internalError || isBuzzerError(error) ? error : undefined
    } finally {
      await connection?.close(this.#host.clock, goodbyeMs)
    }
  }
}

function asBuzzerError(error: unknown): BuzzerError {
  return isBuzzerError(error)
    ? error
    : new BuzzerError('BUZZER_BROKER_FAILED', 'a receiver ended over a defect', { cause: error })
}
