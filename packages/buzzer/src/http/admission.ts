import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { BusPort } from '../bus/index.ts'
import type { AnyCommandContract } from '../message/index.ts'
import { BacklogGauge, type Passed } from './backlog-gauge.ts'
import { EventLoopDelay } from './event-loop-delay.ts'
import type { LoadSnapshot } from './gateway-options.ts'
import { Refusal } from './refusal.ts'
import type { Settings } from './settings.ts'
import { within } from './within.ts'

/** A broker that takes longer to answer is not waited for. */
const patienceMs = 500
const commitMemoryMs = 5_000
const diskEveryMs = 5_000
/** When no drain rate is known. */
const unknownRetryMs = 5_000

/** What asks to be let in: a route by the name it has in limits and logs. */
export interface Entrance {
  readonly name: string
  /** Whose queue is watched; none for a path that publishes events. */
  readonly command: AnyCommandContract | undefined
  readonly to: string | undefined
  readonly limits: Settings['limits']
  readonly admission: Settings['admission']
  /** `maxConcurrentAccepts` was given for this route; otherwise it bounds all routes together. */
  readonly ownConcurrency: boolean
}

/** The place of an accepting request among those in progress. */
export interface Admitted {
  /** The commit begins. */
  committing(): void
  /** The command is durable. */
  committed(): void
  /** The request has its answer. */
  end(): void
}

/** Decides from numbers in memory whether another request can be taken in. Source: spec http 5.10. */
export class AdmissionControl {
  readonly #port: BusPort
  readonly #gauges = new Map<string, BacklogGauge>()
  readonly #queues = new Map<string, string>()
  readonly #loop = new EventLoopDelay()
  readonly #inProgress = new Map<string, number>()
  /** Begin of each commit under way. */
  readonly #commits = new Set<{ readonly sinceMs: number }>()
  #concurrent = 0
  #commitMs: { readonly ms: number; readonly atMs: number } | undefined
  #freeDisk: { readonly bytes: number | undefined; readonly atMs: number } | undefined

  constructor(port: BusPort) {
    this.#port = port
  }

  /** Measures what takes the operating system's time once, so that no request has to wait for it. */
  async start(): Promise<void> {
    this.#loop.start()
    await this.#statDisk()
  }

  stop(): void {
    this.#loop.stop()
  }

  /** Takes a place, or refuses with 503 `overloaded` (429 `rate-limited` where `check` says so). */
  async admit(route: Entrance): Promise<Admitted> {
    const queue = await this.#queueOf(route)
    const gauge = queue === undefined ? undefined : this.#gaugeOf(queue)
    await gauge?.refresh()
    this.#refreshDisk()
    // Before refusing for a count that is not certain, look once.
    if (gauge !== undefined && gauge.backlog >= route.admission.maxBacklog && gauge.isUncertain) await gauge.sample()
    this.#judge(route, this.#snapshot(route, queue, gauge), gauge)
    return this.#place(route, gauge)
  }

  #judge(route: Entrance, load: LoadSnapshot, gauge: BacklogGauge | undefined): void {
    const { admission, limits } = route
    const drainPerMs = gauge?.drainPerMs
    const overloaded = (detail: string, retryMs: number | undefined): Refusal =>
      new Refusal('overloaded', { detail, retryAfterS: this.#retryAfterS(retryMs, admission.maxRetryAfterMs) })
    const concurrent = route.ownConcurrency ? (this.#inProgress.get(route.name) ?? 0) : this.#concurrent
    if (concurrent >= limits.maxConcurrentAccepts) {
      throw overloaded('Too many requests are being accepted at once', undefined)
    }
    if (load.backlog !== undefined && load.backlog >= admission.maxBacklog) {
      const excess = load.backlog - admission.maxBacklog + 1
      throw overloaded(
        'Too much work is waiting',
        drainPerMs === undefined || drainPerMs === 0 ? undefined : excess / drainPerMs,
      )
    }
    const { predictedWaitMs } = load
    if (admission.maxPredictedWaitMs !== undefined && (predictedWaitMs ?? 0) > admission.maxPredictedWaitMs) {
      throw overloaded('New work would wait too long', (predictedWaitMs as number) - admission.maxPredictedWaitMs)
    }
    if ((load.commitMs ?? 0) > admission.maxCommitMs) throw overloaded('Storing takes too long', undefined)
    if ((load.eventLoopDelayMs ?? 0) > admission.maxEventLoopDelayMs) {
      throw overloaded('The process is busy', undefined)
    }
    if ((load.freeDiskBytes ?? Infinity) < admission.minFreeDiskBytes) {
      throw overloaded('The disk is nearly full', undefined)
    }
    const verdict = admission.check?.(load)
    if (verdict !== undefined) {
      const retryAfterS = Math.max(1, Math.ceil(Math.min(verdict.retryAfterMs, admission.maxRetryAfterMs) / 1000))
      throw new Refusal(verdict.status === 429 ? 'rate-limited' : 'overloaded', { retryAfterS })
    }
  }

  #place(route: Entrance, gauge: BacklogGauge | undefined): Admitted {
    const { clock } = this.#port
    const passed: Passed | undefined = gauge?.pass()
    this.#concurrent++
    this.#inProgress.set(route.name, (this.#inProgress.get(route.name) ?? 0) + 1)
    let commit: { readonly sinceMs: number } | undefined
    let committed = false
    // Only a confirmed commit tells how long commits take; one that failed or was given up tells nothing.
    const commitEnded = (confirmed: 'confirmed' | 'not'): void => {
      if (commit === undefined) return
      this.#commits.delete(commit)
      const now = clock.monotonic()
      if (confirmed === 'confirmed') this.#commitMs = { ms: now - commit.sinceMs, atMs: now }
      commit = undefined
    }
    return {
      committing: () => {
        commit = { sinceMs: clock.monotonic() }
        this.#commits.add(commit)
      },
      committed: () => {
        commitEnded('confirmed')
        committed = true
        if (passed !== undefined) gauge?.committed(passed)
      },
      end: () => {
        commitEnded('not')
        if (!committed && passed !== undefined) gauge?.refused(passed)
        this.#concurrent--
        this.#inProgress.set(route.name, (this.#inProgress.get(route.name) ?? 1) - 1)
      },
    }
  }

  #snapshot(route: Entrance, queue: string | undefined, gauge: BacklogGauge | undefined): LoadSnapshot {
    const backlog = gauge?.backlog
    const drainPerMs = gauge?.drainPerMs
    return {
      ...(route.command === undefined ? {} : { command: route.command.type }),
      queue,
      backlog,
      drainPerSecond: drainPerMs === undefined ? undefined : drainPerMs * 1000,
      predictedWaitMs:
        backlog === undefined || drainPerMs === undefined || drainPerMs === 0 ? undefined : backlog / drainPerMs,
      commitMs: this.#recentCommitMs(),
      eventLoopDelayMs: this.#loop.ms,
      freeDiskBytes: this.#freeDisk?.bytes,
      concurrentAccepts: this.#concurrent,
    }
  }

  /** The last commit's time, while it is recent, or that of one under way: a store that hangs must be noticed too. */
  #recentCommitMs(): number | undefined {
    const now = this.#port.clock.monotonic()
    const last = this.#commitMs
    const recent = last !== undefined && now - last.atMs <= commitMemoryMs ? last.ms : undefined
    const oldest = this.#commits.values().next().value
    return oldest === undefined ? recent : Math.max(recent ?? 0, now - oldest.sinceMs)
  }

  #retryAfterS(ms: number | undefined, maxMs: number): number {
    const jittered = (ms ?? unknownRetryMs) * (0.8 + 0.4 * this.#port.random())
    return Math.max(1, Math.min(Math.ceil(jittered / 1000), Math.floor(maxMs / 1000)))
  }

  /** The route's queue, asked of the bus until it is known. */
  async #queueOf(route: Entrance): Promise<string | undefined> {
    const known = this.#queues.get(route.name)
    if (known !== undefined || route.command === undefined) return known
    try {
      const routing = this.#port.route(route.command, route.to)
      const queue = await within(
        this.#port.clock,
        patienceMs,
        routing,
        () => new Error('the broker does not tell the route'),
      )
      if (queue !== undefined) this.#queues.set(route.name, queue)
      return queue
    } catch {
      return undefined
    }
  }

  #gaugeOf(queue: string): BacklogGauge | undefined {
    const { admin } = this.#port.transport
    if (admin === undefined) return undefined
    let gauge = this.#gauges.get(queue)
    if (gauge === undefined) {
      gauge = new BacklogGauge(async () => {
        const figures = await admin.queue(queue)
        return figures.ready + figures.locked
      }, this.#port.clock)
      this.#gauges.set(queue, gauge)
    }
    return gauge
  }

  #refreshDisk(): void {
    const last = this.#freeDisk
    if (last === undefined || this.#port.clock.monotonic() - last.atMs < diskEveryMs) return
    // What was measured last counts until the new figure is there, and nobody else asks meanwhile.
    this.#freeDisk = { bytes: last.bytes, atMs: this.#port.clock.monotonic() }
    void this.#statDisk()
  }

  async #statDisk(): Promise<void> {
    const atMs = this.#port.clock.monotonic()
    const { path } = this.#port.transport as { path?: unknown }
    let bytes: number | undefined
    try {
      const disk = await statfs(typeof path === 'string' ? dirname(path) : process.cwd())
      bytes = disk.bavail * disk.bsize
    } catch {
      // The platform cannot tell: this signal is silent.
    }
    this.#freeDisk = { bytes, atMs }
  }
}
