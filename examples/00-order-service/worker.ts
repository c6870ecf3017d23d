// The worker process: takes orders from the file, one at a time per slot, and ships them.
import { setTimeout as sleep } from 'node:timers/promises'
import { faultOf } from 'buzzer'
import { OrderShipped, type Receipt, type Shipment, SubmitOrder, shipments } from './contracts.ts'
import { line, openShop, short, stopWithSupervisor } from './shop.ts'

const prices: Record<string, number> = { lamp: 49, chair: 120, table: 310 }
// "Deploying the fix" (POST /demo/fix) restarts this process with the price that was forgotten.
if (process.env['SHOP_FIXED'] === 'yes') prices['unobtainium'] = 9_999

const bus = openShop()

bus
  .queue('orders', { concurrency: 8, retry: { immediate: 1, delayedMs: [250, 500], jitter: 0 } })
  .handle(SubmitOrder, async ({ sku, quantity }, ctx) => {
    for (const percent of [25, 50, 75]) {
      await sleep(100, undefined, { signal: ctx.signal })
      await ctx.progress(percent)
    }
    const price = prices[sku]
    if (price === undefined) throw new Error(`no price for ${sku}`)
    const total = price * quantity
    // The record, the event and the acknowledgement are one commit: killed before it, nothing happened; after it, all did.
    const before = await ctx.tx.get<Shipment>(shipments, ctx.id)
    const times = (before?.value.times ?? 0) + 1
    ctx.tx.put(shipments, ctx.id, { sku, total, times } satisfies Shipment, before?.version ?? 'absent')
    await ctx.publish(OrderShipped, { orderId: ctx.id, total })
    return { orderId: ctx.id, total, times } satisfies Receipt
  })

bus.queue('mailing').handle(OrderShipped, ({ orderId, total }) => {
  line('worker', `shipped    ${short(orderId)}  for ${total} €`)
})

bus.queue('support').handle(faultOf(SubmitOrder), fault => {
  line('worker', `GAVE UP    ${short(fault.messageId)}  ${fault.reason}: ${fault.errors[0]?.message ?? 'no error'}`)
})

await bus.start()
stopWithSupervisor(() => bus.stop())
process.send?.({ as: 'ready' })
