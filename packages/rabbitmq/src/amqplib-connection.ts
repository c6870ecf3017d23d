import type { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { BuzzerError, type Clock } from 'buzzer'
import {
  type Channel,
  type ChannelModel,
  type ConfirmChannel,
  connect,
  type ConsumeMessage,
  type Message,
  type SocketOptions,
} from 'amqplib'
import { disconnected, failureOf } from './errors.ts'
import { redacted, type ResolvedOptions } from './options.ts'
import { publishFrames, type PublishTarget } from './publish-frames.ts'
import type { MessageProperties } from './wire-message.ts'

/** The only file that knows the client library, so that it can be replaced. */
export type { Channel, ConfirmChannel, ConsumeMessage, Message }

/** What the library keeps to itself and we need: the socket, to write in fewer pieces and to give up on a dead peer. */
interface Internals {
  readonly stream?: Socket
  readonly frameMax?: number
  /** Writes to the socket and counts as activity for the heartbeat. */
  sendBytes?(bytes: Buffer): void
}

/** Bytes that wait in the socket; beyond it nothing more is written until it has drained. */
const mostUnsentBytes = 4 * 1024 * 1024

/** One connection to a server, from its handshake to its end. */
export interface AmqpConnection {
  readonly serverVersion: string
  /** The negotiated frame size in bytes. */
  readonly frameMaxBytes: number
  openChannel(): Promise<Channel>
  openConfirmChannel(): Promise<ConfirmChannel>
  /** Called once, when the connection has ended for whatever reason but `close`. */
  onLost(callback: (error: Error) => void): void
  /** The server stops reading from connections that publish (memory or disk alarm); `undefined` when it goes on. */
  onBlocked(callback: (reason: string | undefined) => void): void
  /** In an orderly way, or after `patienceMs` by force. Idempotent. Never rejects. */
  close(clock: Clock, patienceMs: number): Promise<void>
}

/**
 * Opens a connection: socket, TLS, handshake, virtual host.
 *
 * Rejects with `BUZZER_DISCONNECTED` when nobody answers (retryable), and with `BUZZER_CONFIGURATION`, not retryable, when
 * the server refuses for good: wrong credentials, unknown virtual host, no TLS on that port, an untrusted certificate.
 */
export async function openConnection(
  url: string,
  connectionName: string,
  options: ResolvedOptions,
): Promise<AmqpConnection> {
  const address = new URL(url)
  address.searchParams.set('heartbeat', String(options.heartbeatSeconds))
  address.searchParams.set('frameMax', String(options.frameMaxBytes))
  let model: ChannelModel
  try {
    model = await connect(address.href, {
      noDelay: true,
      keepAlive: true,
      timeout: options.connectTimeoutMs,
      clientProperties: { connection_name: connectionName },
      ...options.socket,
    } as SocketOptions)
  } catch (error) {
    throw connectError(error, url)
  }
  return new OpenConnection(model)
}

class OpenConnection implements AmqpConnection {
  readonly serverVersion: string
  readonly frameMaxBytes: number
  readonly #model: ChannelModel
  readonly #socket: Socket | undefined
  #isOver = false
  #isClosing = false
  #lastError: Error | undefined
  #onLost: ((error: Error) => void) | undefined

  constructor(model: ChannelModel) {
    const internals = model.connection as unknown as Internals
    this.#model = model
    this.#socket = internals.stream
    this.serverVersion = model.connection.serverProperties.version
    this.frameMaxBytes = internals.frameMax ?? 4_096
    if (this.#socket !== undefined) writeOncePerTurn(this.#socket)
    model.on('error', error => {
      this.#lastError = error
    })
    model.on('close', error => this.#ended(error ?? this.#lastError))
    model.on('handler-error', () => {})
  }

  onLost(callback: (error: Error) => void): void {
    this.#onLost = callback
    if (this.#isOver && !this.#isClosing) callback(this.#lastError ?? new Error('the connection ended'))
  }

  onBlocked(callback: (reason: string | undefined) => void): void {
    this.#model.on('blocked', reason => callback(reason))
    this.#model.on('unblocked', () => callback(undefined))
  }

  async openChannel(): Promise<Channel> {
    return guarded(await this.#model.createChannel())
  }

  async openConfirmChannel(): Promise<ConfirmChannel> {
    return guarded(await this.#model.createConfirmChannel())
  }

  async close(clock: Clock, patienceMs: number): Promise<void> {
    if (this.#isClosing) return
    this.#isClosing = true
    if (!this.#isOver) {
      const { promise: tooLate, resolve } = Promise.withResolvers<void>()
      const timer = clock.setTimeout(resolve, patienceMs)
      await Promise.race([this.#model.close().catch(() => {}), tooLate])
      clock.clearTimeout(timer)
    }
    // A peer that is gone without a word never answers; the socket would stay until the system gives up.
    this.#socket?.destroy()
  }

  #ended(error: Error | undefined): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#lastError = error
    this.#socket?.destroy()
    if (!this.#isClosing) this.#onLost?.(error ?? new Error('the server closed the connection'))
  }
}

/** A channel's error is told to whoever called; without a listener it would end the process. */
function guarded<C extends Channel>(channel: C): C {
  channel.on('error', () => {})
  // With a listener for this event a throwing callback is reported here instead of taking down the connection.
  channel.on('handler-error', () => {})
  return channel
}

/** The library writes every frame by itself. All frames of one turn of the event loop leave in one system call. */
function writeOncePerTurn(socket: Socket): void {
  const write = socket.write.bind(socket) as (...args: unknown[]) => boolean
  let isCorked = false
  const uncork = (): void => {
    isCorked = false
    socket.uncork()
  }
  socket.write = (...args: unknown[]): boolean => {
    if (!isCorked) {
      isCorked = true
      socket.cork()
      process.nextTick(uncork)
    }
    return write(...args)
  }
}

/** Whether trying again is sensible, said in the words of the user. */
function connectError(error: unknown, url: string): BuzzerError {
  const { text } = failureOf(error)
  const where = redacted(url)
  const { code } = error as { code?: unknown }
  const refused = (why: string, nearest: string): BuzzerError =>
    new BuzzerError('BUZZER_CONFIGURATION', `transport rabbitmq cannot connect to ${where}: ${why}; ${nearest}`, {
      cause: error,
      details: { url: where },
    })
  if (/\b403\b|ACCESS.REFUSED/.test((error as Error).message)) {
    return refused(
      'the server refuses these credentials',
      'check user and password (guest may only connect from the same machine)',
    )
  }
  // The library does not show what the server said here: only an unknown or forbidden virtual host is answered like that.
  if (/Expected ConnectionOpenOk; got <ConnectionClose/.test(text)) {
    return refused('the virtual host does not exist, is down, or is not open to this user', 'check the path of the url')
  }
  if (/SASL mechanism .* is not provided/.test(text)) return refused(text, 'enable the mechanism PLAIN at the server')
  if (typeof code === 'string' && /^ERR_(SSL|TLS|OSSL)|CERT|SELF_SIGNED|UNABLE_TO_VERIFY/.test(code)) {
    return refused(`TLS failed (${code}: ${text.trim()})`, 'check port, certificate and the option socket.ca')
  }
  return disconnected(`${where}: ${text}`, error)
}

/** Calls `callback` once when the channel has closed, with what the server said if it was the server. */
export function onChannelClosed(channel: Channel, callback: (error: Error | undefined) => void): void {
  let failure: Error | undefined
  channel.on('error', error => {
    failure = error
  })
  ;(channel as EventEmitter).once('close', () => callback(failure))
}

/** Ends a channel. The library's own promise stays pending for ever when the connection ends before the answer comes. */
export function closeChannel(channel: Channel): Promise<void> {
  return new Promise(resolve => {
    ;(channel as EventEmitter).once('close', () => resolve())
    channel.close().then(resolve, () => resolve())
  })
}

/**
 * Publishes over a confirm channel, past the library's own slow encoder; as fast as the library can where that is not what we
 * know. False: nothing more should be written until `onDrain` calls.
 *
 * @throws RangeError, TypeError for what AMQP cannot carry
 */
export function publish(
  channel: ConfirmChannel,
  target: PublishTarget,
  properties: MessageProperties,
  body: Uint8Array,
): boolean {
  const connection = channel.connection as unknown as Internals
  const { stream, frameMax } = connection
  const { ch } = channel as unknown as { readonly ch?: number }
  if (stream === undefined || frameMax === undefined || connection.sendBytes === undefined || ch === undefined) {
    const content = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
    const { mandatory } = target
    return channel.publish(target.exchange, target.routingKey, content, { ...properties, mandatory, persistent: true })
  }
  for (const frame of publishFrames(ch, target, properties, body, frameMax)) connection.sendBytes(frame)
  return stream.writableLength < mostUnsentBytes
}

/** Calls when what was written has left. */
export function onDrain(channel: ConfirmChannel, callback: () => void): void {
  const { stream } = channel.connection as unknown as Internals
  channel.on('drain', callback)
  stream?.on('drain', callback)
  ;(channel as EventEmitter).once('close', () => stream?.off('drain', callback))
}
