import { BuzzerError, type Clock, hasCode } from 'buzzer'
import type { Appended } from 'buzzer/transport'
import { backOffMs } from '../connection/back-off.ts'
import type { SharedDatabase } from '../connection/shared-database.ts'
import { isRepeatable } from '../connection/sql-error.ts'
import { GroupCommit } from '../group-commit.ts'
import type { AppendCall } from './append-call.ts'
import { type AppendStep, StaleStream, type StepResult } from './append-step.ts'

/** One transaction at most carries so much; what waits behind it has not left the process. Source: spec streams 3.8. */
const maxCalls = 500
const maxBytes = 4 * 1024 * 1024
/** How long a lost connection is waited for. */
const patienceMs = 60_000

export type Grown = StepResult['grown']

/**
 * Appends of one log object: calls made while a transaction is under way share the next one, in their order. A transaction
 * whose answer was lost is looked for before it is done again, so a call is stored once as long as this process lives.
 */
export class Appender {
  readonly #database: SharedDatabase
  readonly #step: AppendStep
  readonly #clock: Clock
  readonly #writer: string
  readonly #onGrown: (grown: Grown) => void
  readonly #calls: GroupCommit<AppendCall, readonly Appended[]>
  #steps = 0
  #giveUpAt = Number.POSITIVE_INFINITY

  constructor(options: {
    database: SharedDatabase
    step: AppendStep
    clock: Clock
    /** A UUID that no other appender has. */
    writer: string
    onGrown: (grown: Grown) => void
  }) {
    this.#database = options.database
    this.#step = options.step
    this.#clock = options.clock
    this.#writer = options.writer
    this.#onGrown = options.onGrown
    this.#calls = new GroupCommit({
      what: 'the append',
      maxItems: maxCalls,
      maxWeight: maxBytes,
      weigh: call => call.bytes,
      run: calls => this.#run(calls),
    })
  }

  append(call: AppendCall, signal?: AbortSignal): Promise<readonly Appended[]> {
    return this.#calls.commit(call, signal)
  }

  /** Resolves when all calls so far are answered; what is not stored within `limitMs` is given up. */
  async finish(limitMs: number): Promise<void> {
    this.#giveUpAt = this.#clock.monotonic() + limitMs
    await this.#calls.idle()
  }

  async #run(calls: readonly AppendCall[]): Promise<readonly (readonly Appended[] | Error)[]> {
    const mark = { writer: this.#writer, step: ++this.#steps }
    const startedAt = this.#clock.monotonic()
    let attempt: StepResult | undefined
    for (let failures = 0; ; failures++) {
      try {
        const { outcomes, grown } = await this.#database.transaction(async handle => {
          const before = attempt
          if (before?.trace !== undefined) {
            if (await this.#step.wasCommitted(handle, before.trace, mark)) return before
          }
          attempt = undefined
          attempt = await this.#step.run(handle, calls, mark)
          return attempt
        })
        if (grown.length > 0) this.#onGrown(grown)
        return outcomes
      } catch (error) {
        if (error instanceof StaleStream) {
          attempt = undefined
          continue
        }
        const isWorthIt = hasCode(error, 'BUZZER_DISCONNECTED') || isRepeatable(error)
        const isOver = this.#clock.monotonic() >= Math.min(startedAt + patienceMs, this.#giveUpAt)
        if (!isWorthIt || isOver) throw attempt === undefined ? error : unknownOutcome(error)
        await this.#pause(backOffMs(failures, Math.random()))
      }
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise(resolve => this.#clock.setTimeout(resolve, ms))
  }
}

function unknownOutcome(cause: unknown): BuzzerError {
  const text = cause instanceof Error ? cause.message : String(cause)
  return new BuzzerError('BUZZER_DISCONNECTED', `whether the append was stored is not known: ${text}`, {
    cause,
    details: { outcome: 'unknown' },
  })
}
