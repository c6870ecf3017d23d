import { type Logger, silentLogger, systemClock } from 'buzzer'
import type { OutgoingMessage } from 'buzzer/transport'
import type { RabbitMqOptions } from '../src/options.ts'
import type { RabbitMq } from '../src/rabbitmq.ts'
import { cornerOf } from './shared-server.ts'

/** What a test of one behaviour needs: transports and queues of its own on a server that others use too. */
export interface World {
  name(what?: string): string
  create(options?: RabbitMqOptions): RabbitMq
  connected(
    options?: RabbitMqOptions,
    onState?: (state: string, error?: Error) => void,
    logger?: Logger,
  ): Promise<RabbitMq>
  message(to: string | OutgoingMessage['to'], more?: Partial<OutgoingMessage>): OutgoingMessage
  declared(transport: RabbitMq, orderBy?: 'queue' | 'key'): Promise<string>
  sweep(): Promise<void>
}

export function worldOn(url: string): World {
  const corner = cornerOf(url)
  let names = 0
  const name = (what = 'q'): string => `${what}${++names}`

  const connected = async (
    options: RabbitMqOptions = {},
    onState: (state: string, error?: Error) => void = () => {},
    logger: Logger = silentLogger,
  ): Promise<RabbitMq> => {
    const transport = corner.create(options)
    await transport.connect({ bus: 'test', instanceId: 'x', clock: systemClock, logger, onState })
    return transport
  }

  let ids = 0
  const message = (to: string | OutgoingMessage['to'], more: Partial<OutgoingMessage> = {}): OutgoingMessage => ({
    id: `m${++ids}`,
    to: typeof to === 'string' ? { queue: to } : to,
    attributes: { type: 'test' },
    headers: {},
    body: Buffer.from('{}'),
    priority: 4,
    mandatory: false,
    ...more,
  })

  const declared = async (transport: RabbitMq, orderBy?: 'queue' | 'key'): Promise<string> => {
    const queue = name()
    await transport.declare({
      queues: [{ name: queue, ...(orderBy === undefined ? {} : { orderBy }) }],
      topics: [],
      bindings: [],
    })
    return queue
  }

  return { name, create: options => corner.create(options), connected, message, declared, sweep: () => corner.sweep() }
}
