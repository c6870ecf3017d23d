import { createGateway, type Gateway, type GatewayOptions } from '../../src/http/index.ts'
import { type Bus, type BusOptions, createBus, type Logger, silentLogger } from '../../src/index.ts'
import { createOperations, type Operations, type OperationsOptions } from '../../src/operations/index.ts'
import { memory } from '../../src/transport/transports/memory.ts'
import { settle, virtualTime, type VirtualTime } from './virtual-time.ts'

/** A bus over memory on virtual time, with what the tests of operations and gateway ask of it. */
export interface World extends AsyncDisposable {
  readonly bus: Bus
  readonly time: VirtualTime
  /** Lines of the log, newest last. */
  readonly log: readonly {
    readonly level: string
    readonly message: string
    readonly fields: Record<string, unknown>
  }[]
  advance(ms: number): Promise<void>
  settle(): Promise<void>
  /** Ready, locked, scheduled and dead messages of a queue together. */
  messages(queue: string): Promise<number>
  dead(queue: string): Promise<number>
}

export function world(options: Partial<BusOptions> = {}): World {
  const time = virtualTime()
  const log: { level: string; message: string; fields: Record<string, unknown> }[] = []
  const at =
    (level: string) =>
    (fields: Readonly<Record<string, unknown>>, message: string): void => {
      log.push({ level, message, fields: { ...fields } })
    }
  const logger: Logger = { ...silentLogger, info: at('info'), warn: at('warn'), error: at('error') }
  const transport = options.transport ?? memory()
  const bus = createBus({ name: 'shop', clock: time, logger, random: () => 0, ...options, transport })
  return {
    bus,
    time,
    log,
    advance: ms => time.advance(ms),
    settle,
    async messages(queue) {
      const figures = await transport.admin?.queue(queue)
      return figures === undefined ? Number.NaN : figures.ready + figures.locked + figures.scheduled + figures.dead
    },
    async dead(queue) {
      return (await transport.admin?.queue(queue))?.dead ?? 0
    },
    async [Symbol.asyncDispose]() {
      const stopping = bus.stop({ timeoutMs: 0 })
      for (let ended = false; !ended; ) {
        await time.advance(6_000)
        ended = await Promise.race([stopping.then(() => true), settle(1).then(() => false)])
      }
    },
  }
}

export function operationsOf(bus: Bus, options: Partial<OperationsOptions> = {}): Operations {
  return createOperations({ bus, volatile: true, ...options })
}

export function gatewayOf(bus: Bus, options: Partial<GatewayOptions> = {}): Gateway {
  return createGateway({ bus, volatile: true, ...options })
}

export interface Answered {
  readonly status: number
  readonly headers: Headers
  readonly body: Record<string, never> & { [member: string]: unknown }
  readonly text: string
}

/** A request to the gateway; a `body` that is no text is sent as JSON. */
export async function ask(
  gateway: { fetch(request: Request): Promise<Response> },
  method: string,
  path: string,
  options: { readonly body?: unknown; readonly headers?: Record<string, string>; readonly signal?: AbortSignal } = {},
): Promise<Answered> {
  const { body, headers, signal } = options
  const isRaw = typeof body === 'string' || body instanceof Uint8Array || body instanceof ReadableStream
  const response = await gateway.fetch(
    new Request(`http://gateway.test${path}`, {
      method,
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: isRaw ? body : JSON.stringify(body), duplex: 'half' as const }),
      ...(signal === undefined ? {} : { signal }),
    }),
  )
  const text = await response.text()
  const isJson = response.headers.get('content-type')?.includes('json') ?? false
  return {
    status: response.status,
    headers: response.headers,
    body: (isJson && text !== '' ? JSON.parse(text) : {}) as Answered['body'],
    text,
  }
}

/** A promise with its ends outside. */
export function gate<T = void>(): { readonly opened: Promise<T>; open(value: T): void } {
  const { promise, resolve } = Promise.withResolvers<T>()
  return { opened: promise, open: resolve }
}
