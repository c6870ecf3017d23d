import type {
  Delivery,
  OutgoingMessage,
  ReceiveOptions,
  Receiver,
  SendOptions,
  Settlement,
  Transport,
} from './transport.ts'

/** Told once what became of a message; perhaps within the call that submitted it. */
export interface Receipt {
  /** Durably accepted. */
  accepted(): void
  /** As the rejection of `send`. */
  refused(error: unknown): void
}

/** An open delivery, to whoever settles it. */
export interface OpenLock {
  /** Once; later calls change nothing. What `onDelivery` would resolve to. */
  settle(settlement: Settlement): void
}

/** Called once per delivery. To throw is a defect: a `retry` without delay, counted, and an error report. */
export type Consumer = (delivery: Delivery, lock: OpenLock) => void

/**
 * The two duties of a transport that occur for each message, told by calls instead of promises. Optional: for brokers in
 * this process, where five promises for each message are a third of what it costs. Semantics are those of `send` with one
 * message and of `receive`, the order of calls of both paths included.
 */
export interface DirectPath<Tx = never> {
  /** The methods it stands for: whoever wraps a transport, or replaces a method, is not passed by. See `directPathOf`. */
  readonly standsFor: Pick<Transport<Tx>, 'send' | 'receive'>
  submit(message: OutgoingMessage, receipt: Receipt, options?: SendOptions<Tx>): void
  serve(queue: string, consumer: Consumer, options: ReceiveOptions): Promise<Receiver>
}

/** The direct path of `transport`, unless its `send` or `receive` are not those that it stands for. */
export function directPathOf<Tx>(transport: Transport<Tx>): DirectPath<Tx> | undefined {
  const { direct } = transport
  if (direct === undefined) return undefined
  const { send, receive } = direct.standsFor
  return transport.send === send && transport.receive === receive ? direct : undefined
}
