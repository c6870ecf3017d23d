import { createBus, defineEvent } from 'buzzer'
import { embedded } from 'buzzer/embedded'

const OrderPlaced = defineEvent<{ orderId: string; total: number }>('orders.order-placed')
const bus = createBus({ name: 'shop', transport: embedded({ path: './data/first-steps.db' }) })

bus.queue('billing').handle(OrderPlaced, order => {
  console.log(`invoice for order ${order.orderId}: ${order.total} €`)
  void bus.stop() // lets this handler finish, then closes; a service does it on SIGTERM
})

await bus.start()
await bus.publish(OrderPlaced, { orderId: '42', total: 10 }) // resolves once the event is on the disk
