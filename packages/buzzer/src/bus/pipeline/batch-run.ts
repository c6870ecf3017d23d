import { BuzzerError, hasCode } from '../../message/index.ts'
import type { StateChange } from '../../store/index.ts'
import type { Delivery, OpenLock, Settlement } from '../../transport/index.ts'
import type { Deadlined } from '../deadline-list.ts'
import type { Handler, Route } from '../handler.ts'
import { enterInbox, handledRecord, type InboxEntry } from '../inbox.ts'
import { throughMiddleware } from '../middleware.ts'
import { abortAttempt, abortReasonOf, Attempt, closeAttempt, emissionsOf, outputsOf } from './attempt.ts'
import { batchItem } from './batch-item.ts'
import { DeliveryRun } from './delivery.ts'
import { decode, Incoming } from './incoming.ts'
import type { QueueView, Startable } from './queue-view.ts'
import { acknowledged, released, settleStep } from './settle.ts'
import { tellAttempt, tellEnd } from './telling.ts'

/** A delivery that waits for its batch. */
export interface Collected {
  readonly delivery: Delivery
  readonly lock: OpenLock
}

interface Member extends Collected {
  readonly incoming: Incoming
  readonly route: Route
  readonly message: unknown
  readonly inbox: InboxEntry | undefined
  /** Further deliveries of the same message: settled with it. */
  readonly twins: Collected[]
}

/**
 * One call of a batch handler. All items are acknowledged, with the outputs, as one group; a batch that fails spends nobody's
 * attempt and falls apart into single deliveries, each under its own policy. Source: spec bus 4.16.
 */
export class BatchRun implements Startable, Deadlined {
  place = -1
  dueAt = 0
  before: Deadlined | undefined
  after: Deadlined | undefined
  readonly #queue: QueueView
  readonly #handler: Handler
  readonly #collected: readonly Collected[]
  #members: readonly Member[] = []
  #attempt: Attempt | undefined

  constructor(queue: QueueView, handler: Handler, collected: readonly Collected[]) {
    this.#queue = queue
    this.#handler = handler
    this.#collected = collected
  }

  start(): void {
    void this.#run()
  }

  release(): void {
    for (const item of this.#collected) item.lock.settle(released)
  }

  stop(reason: BuzzerError): void {
    if (this.#attempt !== undefined) abortAttempt(this.#attempt, reason)
  }

  abandon(): void {
    this.#endAttempt()
    this.#members = []
    this.release()
    this.#queue.ended(this, undefined)
  }

  overdue(): void {
    if (this.#attempt === undefined) return
    const error = new BuzzerError(
      'BUZZER_HANDLER_TIMEOUT',
      `the batch handler of ${this.#handler.contract.type} did not end within ${this.#handler.timeoutMs} ms`,
      { details: { timeoutMs: this.#handler.timeoutMs, queue: this.#queue.name } },
    )
    abortAttempt(this.#attempt, error)
    this.#failed(error)
  }

  async #run(): Promise<void> {
    const members: Member[] = []
    for (const item of this.#collected) {
      const twin = members.find(member => member.delivery.id === item.delivery.id)
      if (twin !== undefined) twin.twins.push(item)
      else {
        const member = await this.#member(item)
        if (member !== undefined) members.push(member)
      }
    }
    this.#members = members
    if (members.length === 0) return this.#queue.ended(this, undefined)
    if (!this.#queue.open) return this.#giveBack(members)
    const [first] = members as [Member]
    const attempt = new Attempt(this.#queue.core, first.incoming, this.#queue.source, 1)
    this.#attempt = attempt
    this.#handler.deadlines.add(this)
    const items = members.map(member => batchItem(member.incoming, member.message, 1))
    try {
      const call = (): unknown => this.#handler.call(items, attempt as never)
      const through = async (): Promise<unknown> =>
        this.#queue.middleware.length === 0
          ? await call()
          : await throughMiddleware(this.#queue.middleware, items, attempt, call)
      const { telemetry } = this.#queue.core
      if (telemetry === undefined) await through()
      else
        await telemetry.process(
          this.#queue.name,
          1,
          first.incoming,
          through,
          members.map(one => one.incoming),
        )
      if (this.#attempt !== attempt) return
      const failure = await emissionsOf(attempt)
      if (failure !== undefined) throw failure
    } catch (error) {
      if (this.#attempt === attempt) this.#failed(abortReasonOf(attempt) ?? error)
      return
    }
    const reason = abortReasonOf(attempt)
    if (reason !== undefined && !hasCode(reason, 'BUZZER_STOPPING')) return this.#failed(reason)
    await this.#settle(members)
  }

  /** Ready for the handler, or `undefined` when the item goes a way of its own. */
  async #member(item: Collected): Promise<Member | undefined> {
    const { core } = this.#queue
    try {
      const incoming = new Incoming(item.delivery, this.#queue.name)
      const route = this.#queue.routeOf(incoming)
      const { expiresAt } = incoming
      const expired = expiresAt !== undefined && expiresAt <= core.clock.now()
      const followed = core.trackers.some(tracker => tracker.concerns(incoming.tracked))
      if (route === undefined || expired || followed) {
        this.#alone(item)
        return undefined
      }
      const message = await decode(core, incoming, route, this.#queue.codecs)
      const { deduplicate } = this.#handler
      let inbox: InboxEntry | undefined
      if (deduplicate?.at === 'receive') {
        const entered = await enterInbox(core, incoming, deduplicate, message, () => this.#queue.open)
        if (entered === 'handled' || entered === 'given-up') {
          item.lock.settle(entered === 'handled' ? acknowledged : released)
          return undefined
        }
        inbox = entered
      }
      return { ...item, incoming, route, message, inbox, twins: [] }
    } catch {
      // What is wrong with it is found, and told, on its own way.
      this.#alone(item)
      return undefined
    }
  }

  async #settle(members: readonly Member[]): Promise<void> {
    const { core } = this.#queue
    const attempt = this.#attempt as Attempt
    const outputs = outputsOf(attempt)
    this.#endAttempt()
    for (const member of members) this.#tell(member, undefined)
    const group = { id: core.newId(), size: members.reduce((sum, member) => sum + 1 + member.twins.length, 0) }
    const grouped = core.capabilities.transactions !== 'none' && group.size > 1
    const changes: StateChange[] = [...outputs.changes]
    for (const member of members) if (member.inbox !== undefined) changes.push(member.inbox.handled())
    const [first] = members as [Member, ...Member[]]
    const bare = outputs.messages.length === 0 && changes.length === 0 && outputs.cancels.length === 0
    let lead: Settlement = acknowledged
    if (!bare) {
      try {
        lead = await settleStep(core, {
          messages: outputs.messages,
          changes,
          cancels: outputs.cancels,
          followers: undefined,
          inbox: () => handledRecord(core, first.incoming),
          onRefused: () => this.#aloneLater(first),
        })
      } catch {
        // Nothing of the step happened: each item tries again alone, and finds out for itself what was refused.
        for (const one of members.flatMap(member => [member, ...member.twins])) this.#alone(one)
        return this.#queue.ended(this, undefined)
      }
    }
    // What the store has taken in parts is settled already, and what the broker shall do at once goes as one group.
    const together = grouped && lead.as === 'ack' ? group : undefined
    for (const member of members) {
      tellEnd(core, { ...member, attempt: 1 }, 'handled', undefined, undefined)
      const own = member === first && lead.as === 'ack' ? lead : { as: 'ack' as const }
      member.lock.settle(
        together === undefined ? own : { ...own, group: together, onRefused: () => this.#aloneLater(member) },
      )
      for (const twin of member.twins)
        twin.lock.settle(together === undefined ? acknowledged : { as: 'ack', group: together })
    }
    this.#queue.ended(this, 'handled')
  }

  #failed(error: unknown): void {
    this.#endAttempt()
    const members = this.#members
    if (hasCode(error, 'BUZZER_STOPPING') || !this.#queue.open) return this.#giveBack(members)
    const listed = (error as { failures?: unknown }).failures
    const failures = hasCode(error, 'BUZZER_BATCH_FAILED') && listed instanceof Map ? listed : undefined
    for (const member of members) this.#tell(member, failures === undefined ? error : failures.get(member.delivery.id))
    void this.#fallApart(members, failures)
  }

  /** The listed items, or all, go on alone; with a list the rest is done. */
  async #fallApart(members: readonly Member[], failures: ReadonlyMap<string, unknown> | undefined): Promise<void> {
    for (const member of members) {
      await this.#leaveInbox(member, failures?.has(member.delivery.id) === false)
      for (const one of [member, ...member.twins]) {
        if (failures === undefined) this.#alone(one)
        else if (failures.has(member.delivery.id)) this.#alone(one, failures.get(member.delivery.id))
        else one.lock.settle(acknowledged)
      }
    }
    this.#queue.ended(this, 'handled')
  }

  async #leaveInbox(member: Member, handled: boolean): Promise<void> {
    if (member.inbox === undefined) return
    const change = handled ? member.inbox.handled() : member.inbox.forget()
    await this.#queue.core.store?.commit([change]).catch((error: unknown) => {
      this.#queue.core.logger.warn(
        { error, messageId: member.delivery.id },
        'an inbox entry of a batch was not updated',
      )
    })
  }

  #giveBack(members: readonly Member[]): void {
    for (const member of members) {
      void this.#leaveInbox(member, false)
      for (const one of [member, ...member.twins]) one.lock.settle(released)
    }
    this.#queue.ended(this, undefined)
  }

  #alone(item: Collected, failedWith?: unknown): void {
    this.#queue.enqueue(new DeliveryRun(this.#queue, item.delivery, item.lock, failedWith))
  }

  #aloneLater(item: Collected): Promise<Settlement> {
    return new Promise(resolve => {
      this.#alone({ delivery: item.delivery, lock: { settle: resolve } })
    })
  }

  #tell(member: Member, error: unknown): void {
    tellAttempt(this.#queue.core, { ...member, attempt: 1 }, error)
  }

  #endAttempt(): void {
    if (this.#attempt !== undefined) closeAttempt(this.#attempt)
    this.#attempt = undefined
    this.#handler.deadlines.remove(this)
  }
}
