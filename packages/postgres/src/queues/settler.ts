import { BuzzerError, isBuzzerError } from 'buzzer'
import type { Settlement } from 'buzzer/transport'
import type { SqlHandle } from '../sql-handle.ts'
import { isRace } from '../store/record-writer.ts'
import type { ChunkLease } from './lease.ts'
import { Manifest } from './manifest.ts'
import type { OpenDelivery } from './open-delivery.ts'
import type { Publisher } from './publisher.ts'
import { refusalOf } from './refusal.ts'
import { isWorthRepeating, type Session } from './session.ts'
import { SettlementBatch } from './settlement-batch.ts'
import { type Answer, hasEffects, type LostLeases, type Refusal, type Step, type StepPart } from './settlement-step.ts'

interface SettleAnswer {
  readonly as: 'settled' | 'repeated' | 'stale' | 'lost'
  readonly now: number
  readonly lost?: LostLeases | null
  readonly awaited?: readonly number[] | null
}

export interface SettlerEvents {
  /** The server has it. */
  onSettled(open: OpenDelivery): void
  onLost(open: OpenDelivery): void
  /** Other messages of this chunk are lost with it. */
  onChunkLost(chunk: ChunkLease): void
  /** Queues that got something back or new, and those of them that receivers of other clients wait for. */
  onStored(queues: Iterable<number>, awaited: readonly number[]): void
}

const maxBatchParts = 5_000
const maxBatchBytes = 8 * 1024 * 1024
const pauseMs = 1_000
const nothing: readonly never[] = []

/**
 * Settlements as group commits. What has only itself to settle goes together, whatever became of some leases; a step with
 * effects (messages, records, cancelled schedules, a group) is done whole or not at all, and only while its leases hold.
 *
 * A step that the server refuses asks its `onRefused`; without one, its messages are retried. Source: spec bus 2,
 * transports 3.1.
 */
export class Settler {
  readonly #session: Session
  readonly #publisher: Publisher
  readonly #events: SettlerEvents
  #waiting: Step[] = []
  readonly #groups = new Map<string, { readonly size: number; readonly steps: Step[] }>()
  #running: Promise<void> | undefined
  /** Settlements that the server has not. */
  backlog = 0

  constructor(session: Session, publisher: Publisher, events: SettlerEvents) {
    this.#session = session
    this.#publisher = publisher
    this.#events = events
  }

  /** Takes over the answer of a handler. */
  settle(open: OpenDelivery, answer: Answer, limits: Step['limits'] = 'kept'): void {
    this.backlog++
    const step = this.#stepOf(open, answer, limits)
    if (step === undefined) return
    const group = answer.as === 'ack' ? answer.group : undefined
    if (group === undefined) this.#add(step)
    else this.#join(step, group)
  }

  /** Resolves when nothing waits to be settled; incomplete groups aside, which are never applied. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running
  }

  /** A lost delivery will never be part of a group's step. */
  leave(open: OpenDelivery): void {
    for (const [id, group] of this.#groups) {
      const rest = group.steps.filter(step => step.parts[0]?.open !== open)
      this.backlog -= group.steps.length - rest.length
      if (rest.length === 0) this.#groups.delete(id)
      else if (rest.length < group.steps.length) this.#groups.set(id, { size: group.size, steps: rest })
    }
  }

  /** The parts of incomplete groups, which end now. */
  dissolve(): readonly OpenDelivery[] {
    const steps = [...this.#groups.values()].flatMap(group => group.steps)
    this.#groups.clear()
    this.backlog -= steps.length
    return steps.flatMap(step => step.parts.map(part => part.open))
  }

  #stepOf(open: OpenDelivery, answer: Answer, limits: Step['limits']): Step | undefined {
    const part: StepPart = { open, answer }
    const empty = { parts: [part], sends: nothing, state: nothing, cancel: nothing, limits }
    try {
      switch (answer?.as) {
        case 'ack':
          if (answer.send === undefined && answer.state === undefined && answer.cancel === undefined) return empty
          return {
            ...empty,
            sends: this.#publisher.encode(answer.send ?? []),
            state: this.#session.records.prepare(answer.state ?? []),
            cancel: answer.cancel ?? [],
          }
        case 'dead-letter':
          return {
            ...empty,
            sends: this.#publisher.encode(answer.send ?? []),
            state: this.#session.records.prepare(answer.state ?? []),
          }
        case 'retry':
          return { ...empty, state: this.#session.records.prepare(answer.state ?? []) }
        case 'release':
        case 'park':
          return empty
        default:
          throw new BuzzerError(
            'BUZZER_INVALID_OPTION',
            `onDelivery answered ${JSON.stringify(answer)}, which is no settlement`,
          )
      }
    } catch (error) {
      this.#refuse({ step: empty, error: asRefusal(error) })
      return undefined
    }
  }

  #join(step: Step, { id, size }: { readonly id: string; readonly size: number }): void {
    const group = this.#groups.get(id) ?? { size, steps: [] }
    group.steps.push(step)
    if (group.steps.length < size) {
      this.#groups.set(id, group)
      return
    }
    this.#groups.delete(id)
    const { steps } = group
    this.#add({
      parts: steps.flatMap(one => one.parts),
      sends: steps.flatMap(one => one.sends),
      state: steps.flatMap(one => one.state),
      cancel: steps.flatMap(one => one.cancel),
      limits: 'kept',
    })
  }

  #add(step: Step): void {
    this.#waiting.push(step)
    this.#running ??= this.#run()
  }

  async #run(): Promise<void> {
    // All that is settled in this turn of the event loop goes together.
    await new Promise<void>(resolve => setImmediate(resolve))
    while (this.#waiting.length > 0) await this.#commit(this.#take())
    this.#running = undefined
  }

  #take(): readonly Step[] {
    let parts = 0
    let bytes = 0
    let count = 0
    for (const step of this.#waiting) {
      if (count > 0 && (parts >= maxBatchParts || bytes >= maxBatchBytes)) break
      parts += step.parts.length
      for (const { record } of step.sends) bytes += record.byteLength
      count++
    }
    return this.#waiting.splice(0, count)
  }

  /** Settles steps in one transaction, repeated until the server has answered. Never rejects. */
  async #commit(steps: readonly Step[]): Promise<void> {
    const session = this.#session
    const number = session.nextStep()
    let rest = steps
    let view = await session.topology().catch(() => undefined)
    for (let tries = 0; rest.length > 0; tries++) {
      if (session.isClosed) {
        for (const step of rest) this.#drop(step)
        return
      }
      try {
        view ??= await session.topology()
        const planned = this.#plan(rest, view)
        if (planned.refused.length > 0 && tries === 0) {
          view = await session.readTopology()
          continue
        }
        for (const refusal of planned.refused) this.#refuse(refusal)
        rest = planned.steps
        if (rest.length === 0) return
        const batch = new SettlementBatch(rest)
        const { answer, refused, applied } = await this.#send(rest, batch, planned.manifest, number, tries > 0)
        if (answer.as === 'stale') {
          view = await session.readTopology()
          continue
        }
        for (const refusal of refused) this.#refuse(refusal)
        if (answer.as === 'lost') {
          rest = this.#withoutLost(rest, batch, answer.lost ?? null)
          continue
        }
        planned.manifest.stored()
        this.#applied(applied.steps, applied.batch, answer)
        this.#events.onStored(queuesOf(applied.steps, planned.manifest), answer.awaited ?? [])
        return
      } catch (error) {
        const refusal = refusalOf(error, session.options.prefix)
        if (refusal !== undefined) {
          await this.#commitEach(rest, refusal)
          return
        }
        if (isWorthRepeating(error) || isRace(error)) continue
        if (rest.length > 1 && rest.some(hasEffects)) {
          await this.#commitEach(rest, asRefusal(error))
          return
        }
        if (rest.some(hasEffects)) {
          for (const step of rest) this.#refuse({ step, error: asRefusal(error) })
          return
        }
        // What became of messages that were handled must not be forgotten for want of disk space: again, a little later.
        session.logger.error({ error }, 'settlements cannot be written to PostgreSQL; trying again')
        await new Promise<void>(resolve => session.clock.setTimeout(resolve, pauseMs))
      }
    }
  }

  /** Steps with effects one by one, so that the refusal of one is its own; the others together. */
  async #commitEach(steps: readonly Step[], refusal: BuzzerError): Promise<void> {
    if (steps.length === 1) {
      this.#refuse({ step: steps[0] as Step, error: refusal })
      return
    }
    const plain = steps.filter(step => !hasEffects(step))
    if (plain.length > 0) await this.#commit(plain)
    for (const step of steps) if (hasEffects(step)) await this.#commit([step])
  }

  #plan(
    steps: readonly Step[],
    view: Manifest['topology'],
  ): { readonly manifest: Manifest; readonly steps: readonly Step[]; readonly refused: readonly Refusal[] } {
    const { time, options } = this.#session
    const manifest = new Manifest(view, time, options.chunkLimits)
    const refused: Refusal[] = []
    const planned: Step[] = []
    for (const step of steps) {
      try {
        for (const { message } of step.sends) manifest.targets(message)
        for (const encoded of step.sends) manifest.add(encoded, step.limits)
        planned.push(step)
      } catch (error) {
        refused.push({ step, error: asRefusal(error) })
      }
    }
    return { manifest, steps: planned, refused }
  }

  async #send(
    steps: readonly Step[],
    batch: SettlementBatch,
    manifest: Manifest,
    number: number,
    isRepeated: boolean,
  ): Promise<Outcome> {
    const session = this.#session
    if (steps.every(step => step.state.length === 0)) {
      const answer = await session.database.run(handle => this.#ask(handle, steps, batch, manifest, number))
      return { answer, refused: [], applied: { steps, batch } }
    }
    const units = steps.map(step => step.state)
    return session.database
      .transaction(async (handle): Promise<Outcome> => {
        const applied = { steps, batch }
        if (isRepeated && (await session.hasReceipt(handle, number))) {
          return { answer: { as: 'repeated', now: 0 } as const, refused: [], applied }
        }
        // The leases first: who waits for them must not hold records.
        const { rows } = await handle.query(session.sql.lost, [JSON.stringify(batch.manifest)])
        const lost = JSON.parse((rows[0] as { answer: string | null }).answer ?? 'null') as LostLeases | null
        if (lost !== null) return { answer: { as: 'lost', lost, now: 0 } as const, refused: [], applied }
        const refusals = await session.records.apply(handle, units)
        const refused = steps.flatMap((step, at) => {
          const error = refusals[at]
          return error === undefined ? [] : [{ step, error }]
        })
        if (refused.length === 0) {
          const answer = await this.#ask(handle, steps, batch, manifest, number)
          if (answer.as === 'stale' || answer.as === 'lost') throw new Undone({ answer, refused: [], applied })
          return { answer, refused, applied }
        }
        const kept = steps.filter(step => refused.every(one => one.step !== step))
        if (kept.length === 0)
          return {
            answer: { as: 'settled', now: 0 } as const,
            refused,
            applied: { steps: [], batch: new SettlementBatch([]) },
          }
        const planned = this.#plan(kept, manifest.topology)
        const rest = { steps: kept, batch: new SettlementBatch(kept) }
        const answer = await this.#ask(handle, kept, rest.batch, planned.manifest, number)
        if (answer.as === 'stale' || answer.as === 'lost') throw new Undone({ answer, refused: [], applied })
        return { answer, refused, applied: rest }
      })
      .then(
        outcome => {
          if (outcome.answer.as !== 'lost') session.committed(outcome.applied.steps.flatMap(step => step.state))
          return outcome
        },
        (error: unknown) => {
          if (error instanceof Undone) return error.outcome
          throw error
        },
      )
  }

  async #ask(
    handle: SqlHandle,
    steps: readonly Step[],
    batch: SettlementBatch,
    manifest: Manifest,
    number: number,
  ): Promise<SettleAnswer> {
    const { client, sql, time } = this.#session
    const isGuarded = steps.some(hasEffects)
    // Acknowledgements may be repeated as they are: the lease that they are keyed by is gone with them.
    const isPlain =
      !isGuarded && batch.isPlain && steps.every(step => step.parts.every(part => part.answer.as === 'ack'))
    const sentAt = time.now()
    const { rows } = await handle.query(sql.settle, [
      client,
      isPlain ? null : number,
      manifest.topology.version,
      isGuarded,
      JSON.stringify(batch.manifest),
      manifest.isEmpty ? null : manifest.itemsText,
      manifest.isEmpty ? null : manifest.data,
      manifest.limited,
      manifest.hashed,
      manifest.idle,
      `{${[...queuesOf(steps, manifest)].join(',')}}`,
      manifest.masks,
    ])
    const answer = JSON.parse((rows[0] as { answer: string }).answer) as SettleAnswer
    time.observe(answer.now, sentAt)
    return answer
  }

  #applied(steps: readonly Step[], batch: SettlementBatch, answer: SettleAnswer): void {
    const lost = answer.as === 'repeated' ? null : (answer.lost ?? null)
    batch.applied(lost)
    const lostParts = new Set(batch.partsOf(lost))
    for (const { parts } of steps) {
      for (const part of parts) {
        this.backlog--
        if (lostParts.has(part)) this.#events.onLost(part.open)
        else this.#events.onSettled(part.open)
      }
    }
    for (const chunk of batch.lostChunks(lost)) this.#events.onChunkLost(chunk)
  }

  /** What is left when the lost ones are told so; a group that has lost a part is refused whole. */
  #withoutLost(steps: readonly Step[], batch: SettlementBatch, lost: LostLeases | null): readonly Step[] {
    const lostParts = new Set(batch.partsOf(lost))
    for (const chunk of batch.lostChunks(lost)) this.#events.onChunkLost(chunk)
    const rest: Step[] = []
    for (const step of steps) {
      if (!step.parts.some(part => lostParts.has(part))) {
        rest.push(step)
        continue
      }
      for (const part of step.parts) {
        if (lostParts.has(part)) {
          this.backlog--
          this.#events.onLost(part.open)
        } else {
          const error = new BuzzerError('BUZZER_LOCK_LOST', 'the lock of another message of this group was lost')
          this.#refuse({ step: { ...step, parts: [part] }, error })
        }
      }
    }
    return rest
  }

  #drop(step: Step): void {
    for (const part of step.parts) {
      this.backlog--
      this.#events.onLost(part.open)
    }
  }

  /** Follows the answers of a step that the server refused; nothing of it was applied. */
  #refuse({ step, error }: Refusal): void {
    for (const { open, answer } of step.parts) {
      this.backlog--
      const onRefused = 'onRefused' in answer ? answer.onRefused : undefined
      if (onRefused === undefined) {
        this.#report(open, error, `a settlement was refused; the message is retried`)
        this.settle(open, { as: 'retry' })
        continue
      }
      const ask = async (): Promise<Settlement> => await onRefused(error)
      ask().then(
        next => this.settle(open, next),
        (failure: unknown) => {
          this.#report(open, failure, 'onRefused rejected; the message is retried')
          this.settle(open, { as: 'retry' })
        },
      )
    }
  }

  #report(open: OpenDelivery, error: unknown, what: string): void {
    this.#session.logger.error({ error, queue: open.queue, messageId: open.held.message.id }, what)
  }
}

interface Outcome {
  readonly answer: SettleAnswer
  readonly refused: readonly Refusal[]
  readonly applied: { readonly steps: readonly Step[]; readonly batch: SettlementBatch }
}

/** The transaction was rolled back, and this is why. */
class Undone extends Error {
  readonly outcome: Outcome

  constructor(outcome: Outcome) {
    super('undone')
    this.outcome = outcome
  }
}

/** Queues in which something may be found after these steps. */
function queuesOf(steps: readonly Step[], manifest: Manifest): ReadonlySet<number> {
  const queues = new Set(manifest.queues)
  for (const { parts } of steps) {
    for (const { open, answer } of parts) {
      const { place } = open.held
      const { queueId } = open.receiver
      if (place.kind === 'head' || answer.as === 'retry' || answer.as === 'release') queues.add(queueId)
      if (answer.as === 'dead-letter' || answer.as === 'retry') queues.add(-Math.abs(queueId))
    }
  }
  return queues
}

function asRefusal(error: unknown): BuzzerError {
  return isBuzzerError(error)
    ? error
    : new BuzzerError('BUZZER_SEND_FAILED', 'the settlement could not be applied', { cause: error })
}
