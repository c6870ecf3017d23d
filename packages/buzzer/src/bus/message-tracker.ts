import type { JsonValue, MessageHeaders } from '../message/index.ts'
import type { StateChange } from '../store/index.ts'

/** What a tracker may know of a message, before and after its handler. */
export interface TrackedMessage {
  readonly id: string
  readonly type: string
  readonly queue: string
  readonly conversationId: string
  /** The user's headers and `buzzer-operation`, where present. */
  readonly headers: MessageHeaders
  /** Deliveries of this message so far, this one included. */
  readonly delivery: number
  readonly redrives: number
}

export type ProgressReport = number | { readonly done: number; readonly total?: number; readonly note?: string }

/** A turn of a message's life, told before it is settled so that the answer can join the settlement. */
export type MessageTurn =
  | { readonly as: 'immediate-retry'; readonly attempt: number; readonly error: unknown }
  | { readonly as: 'delayed-retry'; readonly attempt: number; readonly error: unknown; readonly delayMs: number }
  | { readonly as: 'succeeded'; readonly attempt: number; readonly result: JsonValue | undefined }
  | { readonly as: 'dead-lettered'; readonly attempt: number; readonly reason: string; readonly error: unknown }
  | { readonly as: 'cancelled'; readonly attempt: number }
  | { readonly as: 'expired' }

/**
 * The seam by which operations (later jobs and sagas) follow messages, so that `bus` never imports them.
 * Source: spec bus 4.9, http 2 and 11. At most one tracker per concern is attached by `BusPort.track`.
 */
export interface MessageTracker {
  readonly name: string
  /** Cheap and synchronous: messages it does not concern cost no store access. */
  concerns(message: TrackedMessage): boolean
  /** Before each handler run. `skip`: acknowledge, do not call the handler. `signal`, when given, joins `ctx.signal`. */
  starting(message: TrackedMessage, attempt: number): Promise<'skip' | { readonly signal?: AbortSignal }>
  /**
   * The changes that ride on the settlement of this turn (for `immediate-retry`: committed by themselves, before the next run).
   * Asked again when the broker refused the step for `BUZZER_CONFLICT` in one of these changes, so that a race with a
   * progress report or a cancel never makes a finished handler run again.
   */
  turn(message: TrackedMessage, turn: MessageTurn): Promise<readonly StateChange[]>
  /**
   * The settlement of the turn is on its way to the broker: the run is over, its signal is no longer needed. What `turn`
   * needs to be asked again must be kept a little longer.
   */
  settled(message: TrackedMessage): void
  /** A dead letter of this message was put back on its queue. */
  redriven(message: TrackedMessage): Promise<void>
  /** `ctx.progress` of any message, whether it concerns the tracker or not. Never rejects. */
  progress(message: TrackedMessage, report: ProgressReport): Promise<void>
}
