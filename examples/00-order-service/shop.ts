import { postgres, postgresStore } from '@buzzer/postgres'
import { rabbitmq } from '@buzzer/rabbitmq'
import { type Bus, type BusOptions, createBus } from 'buzzer'
import { embedded } from 'buzzer/embedded'

/** Where the messages are: a file that both processes open, or the address of a server. */
export const address: string = process.env['BUZZER_TRANSPORT'] || './data/shop.db'

/** The same program on each of the three: this is the line that changes. */
function broker(): Pick<BusOptions<unknown, unknown>, 'transport' | 'store'> {
  if (/^postgres(ql)?:/.test(address)) {
    // A worker that is killed cannot give its orders back: they come when its lease has run out. For a demo soon.
    return { transport: postgres({ connectionString: address, leaseMs: 3_000 }) }
  }
  if (/^(rabbitmq|amqps?):/.test(address)) {
    const records = process.env['BUZZER_STORE']
    if (!records) throw new Error('RabbitMQ keeps messages, not records: set BUZZER_STORE=postgres://… for the orders')
    const prefix = process.env['BUZZER_PREFIX'] ?? ''
    return {
      transport: rabbitmq({ url: address.replace(/^rabbitmq:/, 'amqp:'), prefix }),
      store: postgresStore({ connectionString: records }),
    }
  }
  return { transport: embedded({ path: address.replace(/^embedded:/, '') }) }
}

/** On the file, whichever process comes first hosts the broker, and the other takes over when it dies. */
export function openShop(): Bus<unknown> {
  return createBus<unknown, unknown>({ name: 'shop', ...broker() })
}

/** Ctrl-C reaches a whole terminal; here the supervisor alone decides, and its death ends its children too. */
export function stopWithSupervisor(stop: () => Promise<void>): void {
  process.on('SIGINT', () => undefined)
  let stopping: Promise<void> | undefined
  const once = (): void => {
    stopping ??= stop().then(
      () => process.exit(0),
      error => {
        console.error(error)
        process.exit(1)
      },
    )
  }
  process.on('SIGTERM', once)
  process.on('disconnect', once)
}

export function line(who: string, text: string): void {
  console.log(`${new Date().toISOString().slice(11, 23)}  ${who.padEnd(7)} ${text}`)
}

/** Enough of a UUIDv7 to tell it from its neighbours. */
export function short(id: string): string {
  return id.slice(-6)
}
