import type { BuzzerError, Clock, Logger } from 'buzzer'
import type { OutgoingMessage, Receiver } from 'buzzer/transport'
import type { ConsumerHost } from './queue-consumer.ts'
import type { SettlingHost } from './settling.ts'

/** What receivers need of their transport. */
export interface ReceiverHost extends ConsumerHost, SettlingHost {
  readonly clock: Clock
  readonly logger: Logger
  /** Longest delay that the server holds. 0: none. */
  readonly delayMaxMs: number
  /** A copy that counts `attempts` as used; resolves when confirmed. */
  sendCopy(copy: OutgoingMessage, attempts: number): Promise<void>
  /** Makes the queue exist again if it is ours; false when it is not. */
  restoreQueue(queue: string): Promise<boolean>
  /** A receiver ended although nobody stopped it. */
  ended(receiver: RabbitReceiver, error: BuzzerError): void
  /** A receiver was stopped. */
  stopped(receiver: RabbitReceiver): void
}

/** A receiver, as its transport sees it. */
export interface RabbitReceiver extends Receiver {
  readonly queue: string
  /** What it consumes, by the names at the server. */
  readonly serverQueues: readonly string[]
  /** Deliveries in the hands of this process. */
  readonly openCount: number
  open(): Promise<void>
  /** The connection is back. */
  reopen(): Promise<void>
  /** The connection is gone: nothing that was open can be settled any more. */
  lost(why: string): void
  /** At once, whatever runs: its locks are lost. */
  end(): Promise<void>
}

/** How often a consumer that the server cancelled begins again, before that counts as the end. */
export const mostCancels = 5
