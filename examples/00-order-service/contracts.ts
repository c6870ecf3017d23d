import { defineCommand, defineEvent } from 'buzzer'
import { z } from 'zod'

/** Work to be done: exactly one queue takes it. The handler's return value becomes the result of the operation. */
export const SubmitOrder = defineCommand(
  'shop.submit-order',
  z.object({
    sku: z.string().min(1).max(40),
    quantity: z.number().int().min(1).max(1_000),
    customer: z.string().max(100).default('walk-in'),
  }),
  { queue: 'orders' },
)

/** A fact: any number of queues may listen. It leaves only if the order was handled. */
export const OrderShipped = defineEvent('shop.order-shipped', z.object({ orderId: z.string(), total: z.number() }))

/** What the shop keeps of each order, in the same file and the same commit as the acknowledgement. */
export interface Shipment {
  readonly sku: string
  readonly total: number
  /** How often this order took effect: 1, whatever was killed meanwhile. */
  readonly times: number
}

export const shipments = 'shop.shipments'

/** What the customer gets: the result of the operation. */
export type Receipt = { orderId: string; total: number; times: number }

/** The answer of `GET /demo/summary`. */
export interface Summary {
  /** Operations by status. */
  readonly orders: Readonly<Record<string, number>>
  readonly tookEffectTwice: number
  readonly queue: { readonly ready: number; readonly locked: number; readonly scheduled: number; readonly dead: number }
}
