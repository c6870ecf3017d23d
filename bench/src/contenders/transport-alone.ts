import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { OutgoingMessage, TransportContext } from 'buzzer/transport'
import { consoleLogger, systemClock } from 'buzzer'
import { Flow } from '../flow.ts'
import type { Reading } from '../reading.ts'
import type { Contender } from '../suite.ts'
import { durabilityOf, openTransport, type TransportKind } from './transports.ts'

export interface TransportAloneOptions {
  readonly name: string
  readonly transport: TransportKind
  readonly inFlight: number
  /** Open deliveries at most. */
  readonly prefetch: number
  /** Messages of one `send`. Default 1. */
  readonly batch?: number
}

/** A transport without the bus: `send`, `receive`, ack. JSON is made and parsed here, as rivals do. */
export function transportAlone(options: TransportAloneOptions): Contender {
  const { name, transport: kind, inFlight, prefetch, batch = 1 } = options
  return {
    name,
    side: 'ours',
    durability: durabilityOf[kind],
    async setup(context) {
      const opened = await openTransport(kind, context)
      const { transport } = opened
      const transportContext: TransportContext = {
        bus: 'bench',
        instanceId: `bench-${process.pid}`,
        clock: systemClock,
        logger: consoleLogger(),
        onState: (state, error) => {
          if (state === 'lost') flow.fail(error)
        },
      }
      const queue = 'readings'
      const flow = new Flow({
        inFlight,
        batch,
        publish: readings => transport.send(readings.map(message => outgoing(queue, message))),
      })
      await transport.connect(transportContext)
      await transport.declare({ queues: [{ name: queue }], topics: [], bindings: [] })
      const receiver = await transport.receive(
        queue,
        async ({ body }) => {
          flow.handled(JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString()) as Reading)
          return { as: 'ack' }
        },
        { maxInFlight: prefetch, orderBy: 'none' },
      )
      return {
        facts: async () => ({
          settings: `${batch === 1 ? 'one send per message' : `sends of ${batch}`}, ${prefetch} open deliveries at most`,
          ...(await opened.facts()),
        }),
        run: n => flow.run(n),
        async teardown() {
          await receiver.stop()
          // Acknowledgements may be on their way.
          await sleep(100)
          const left = await transport.admin?.queue(queue)
          await transport.close()
          await opened[Symbol.asyncDispose]()
          if (left !== undefined && left.ready + left.locked + left.dead > 0)
            throw new Error(`left on the queue after the last round: ${JSON.stringify(left)}`)
        },
      }
    },
  }
}

function outgoing(queue: string, message: Reading): OutgoingMessage {
  return {
    id: randomUUID(),
    to: { queue },
    attributes: {},
    headers: {},
    contentType: 'application/json',
    body: Buffer.from(JSON.stringify(message)),
    priority: 0,
    mandatory: true,
  }
}
