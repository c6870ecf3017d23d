import type { AnyContract, MessageHeaders } from '../message/index.ts'

/** A message as the bus saw it, for probes, progress lines and tests. */
export interface ObservedMessage {
  readonly id: string
  readonly type: string
  /** The contract, where the bus knows it. */
  readonly contract?: AnyContract
  /** What the caller gave, or what the handler got. Absent when it could not be decoded. */
  readonly message?: unknown
  readonly headers: MessageHeaders
  readonly conversationId: string
  readonly causationId?: string
  readonly correlationId?: string
}

/**
 * Told of what happens on a bus, synchronously, in the order it happens. Observers must not throw and cannot change
 * anything. The test harness is one. Attached by `BusPort.observe`.
 */
export interface BusObserver {
  /** A publish or send was called and encoded; in a handler it leaves only if the handler succeeds. */
  emitted?(message: ObservedMessage & { readonly kind: 'event' | 'command' | 'request'; readonly to?: string }): void
  /** What `emitted` told of has been accepted by the broker (or the store's outbox). */
  accepted?(messageId: string): void
  /** A handler run has ended; `error` is absent when it succeeded. */
  attempted?(
    message: ObservedMessage & { readonly queue: string; readonly attempt: number; readonly error?: unknown },
  ): void
  /** A delivery has ended for good. */
  ended?(
    message: ObservedMessage & {
      readonly queue: string
      readonly attempt: number
      readonly as: 'handled' | 'dead-letter' | 'expired' | 'discarded' | 'duplicate' | 'deferred'
      readonly reason?: string
      readonly error?: unknown
    },
  ): void
}
