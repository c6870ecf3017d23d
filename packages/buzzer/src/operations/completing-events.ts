import type { Bus, HandlerContext } from '../bus/index.ts'
import type { AnyCommandContract, AnyEventContract } from '../message/index.ts'
import type { EventEnding } from './completion.ts'
import type { OperationTurn } from './operation-life.ts'
import type { OperationRecord } from './operation-record.ts'
import { readResult } from './result.ts'
import type { Tracking } from './tracking.ts'

/**
 * Listens to the events that complete operations. Those known before the bus starts arrive on the queue
 * `<bus>.operations`, shared by all processes; one that is first named by a later submission gets a queue of its own,
 * `<bus>.operations.<event>`, since a started queue takes no further handlers.
 */
export class CompletingEvents {
  readonly #bus: Bus<unknown>
  readonly #tracking: Tracking
  readonly #endings = new Map<string, EventEnding>()
  readonly #listening = new Map<string, Promise<void>>()

  constructor(bus: Bus<unknown>, tracking: Tracking) {
    this.#bus = bus
    this.#tracking = tracking
  }

  /**
   * Makes the events of `ending` complete operations of `command`; resolves when they are listened to. Several endings of
   * one command are told apart by event: the last one given for an event says how its result is read.
   */
  async add(command: AnyCommandContract, ending: EventEnding): Promise<void> {
    const listening: Promise<void>[] = []
    for (const event of [...ending.on, ...ending.failOn]) {
      this.#endings.set(`${command.type} ${event.type}`, ending)
      let one = this.#listening.get(event.type)
      if (one === undefined) {
        one = this.#listen(event)
        this.#listening.set(event.type, one)
        one.catch(() => this.#listening.delete(event.type))
      }
      listening.push(one)
    }
    await Promise.all(listening)
  }

  async #listen(event: AnyEventContract): Promise<void> {
    const { port } = this.#tracking
    const late = port.state !== 'new'
    const queue = this.#bus.queue(late ? `${port.bus}.operations.${event.type}` : `${port.bus}.operations`)
    queue.handle(
      event as never,
      ((message: unknown, ctx: HandlerContext<unknown>) => this.#arrived(event, message, ctx)) as never,
    )
    if (late) await queue.start()
  }

  async #arrived(event: AnyEventContract, message: unknown, ctx: HandlerContext<unknown>): Promise<void> {
    const { records } = this.#tracking
    const id = ctx.conversationId
    const stored = await records.take(id, record => this.#turn(event, message, record))
    if (stored !== undefined) this.#tracking.changed(id, stored)
  }

  #turn(event: AnyEventContract, message: unknown, record: OperationRecord): OperationTurn[] {
    const { completion, operation, settings } = record
    if (completion.as !== 'event' || operation.done) return []
    const ending = this.#endings.get(`${operation.command} ${event.type}`)
    if (completion.on.includes(event.type)) {
      const result = ending?.result === undefined ? {} : readResult(ending.result(message), settings.maxResultBytes)
      return [...this.#tracking.progress.takePending(operation.id), { as: 'succeed', result }]
    }
    if (!completion.failOn.includes(event.type)) return []
    const problem = ending?.error?.(message)
    return [
      ...this.#tracking.progress.takePending(operation.id),
      problem === undefined ? { as: 'fail' } : { as: 'fail', problem },
    ]
  }
}
