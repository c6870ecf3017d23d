import type { Clock, Codec, Logger, NewId } from '../message/index.ts'
import type { Store } from '../store/index.ts'
import type { Capabilities, Transport } from '../transport/index.ts'
import type { BusObserver } from './bus-observer.ts'
import type { ClaimCheck } from './claim-check.ts'
import type { MessageTracker } from './message-tracker.ts'
import type { Middleware, OutgoingMiddleware } from './middleware.ts'
import type { StoredSends } from './stored-sends.ts'
import type { Requests } from './request.ts'
import type { Router } from './routing.ts'
import type { Sender } from './sender.ts'
import type { Telemetry } from './telemetry.ts'

export type BusState = 'new' | 'starting' | 'running' | 'stopping' | 'stopped'

/**
 * How the parts of one step are made one (spec bus 4.9): `joint`: the transport commits acknowledgement, outputs and
 * records together. `stored`: outputs and records are one commit of the store, then relayed. `direct`: outputs first,
 * then the acknowledgement; no records.
 */
export type StepMode = 'joint' | 'stored' | 'direct'

/** What the parts of one bus share. Not visible outside the room. */
export interface BusCore {
  readonly name: string
  readonly instanceId: string
  readonly hostname: string
  readonly clock: Clock
  readonly newId: NewId
  readonly random: () => number
  readonly logger: Logger
  readonly transport: Transport<unknown>
  readonly capabilities: Capabilities
  readonly store: Store<unknown> | undefined
  /** Whether records of `store` can ride on settlements and sends of the transport. Known after `connect`. */
  readonly jointStore: boolean
  readonly validateOnSend: boolean
  readonly validateOnReceive: boolean
  /** By media type: the given ones and those of the option. */
  readonly codecs: ReadonlyMap<string, Codec>
  readonly structured: boolean
  readonly propagateHeaders: readonly string[]
  readonly publishFaults: boolean
  readonly sendTimeoutMs: number
  readonly claimCheck: ClaimCheck | undefined
  readonly telemetry: Telemetry | undefined
  readonly middleware: Middleware[]
  readonly outgoing: OutgoingMiddleware[]
  readonly observers: Set<BusObserver>
  readonly trackers: MessageTracker[]
  readonly router: Router
  readonly sender: Sender
  readonly requests: Requests
  /** Outbox rows and schedules in the store; absent without a store. */
  readonly storedSends: StoredSends | undefined
  state: BusState
  /** From step 2 of a stop on (spec bus 4.14): no handler starts, sends from outside are refused. */
  draining: boolean
}

export function modeOf(core: BusCore): StepMode {
  if (core.capabilities.transactions !== 'none') return 'joint'
  return core.store === undefined ? 'direct' : 'stored'
}
