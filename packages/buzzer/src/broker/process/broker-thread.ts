import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads'
import { BuzzerError, type Logger } from '../../message/index.ts'
import { type BrokerPath, prepareBrokerPath } from './broker-path.ts'
import type { FromBrokerThread, ToBrokerThread } from './messages.ts'
import { newPulse, type Pulse } from './pulse.ts'
import { threadArguments, threadEntry } from './thread-entry.ts'

/** What the engine needs to know. All transports of one process on one file must agree on it. */
export interface EngineOptions {
  readonly durability: 'fsync' | 'os'
  readonly lockMs: number
  readonly stallMs: number
  readonly reclaimMs: number
  readonly maxMessageBytes: number
  readonly maxFileBytes: number
}

/** What the broker thread is started with. */
export interface BrokerThreadData {
  readonly path: string
  readonly pulse: Pulse
  readonly engine: EngineOptions
}

export interface SessionRequest {
  readonly path: string
  readonly engine: EngineOptions
  readonly mayHost: boolean
  readonly logger: Logger
}

/** One session's end in the user's thread. */
export interface SessionPort {
  readonly port: MessagePort
  /** When the broker thread last gave a sign, as `pulse.ts` keeps it. */
  readonly pulse: Pulse
  /** Resolves when the session's end is complete in the broker thread too; for the last one, when all is handed over. */
  readonly closed: Promise<void>
}

/** By resolved file. A thread that is closing is no longer in here. */
const threads = new Map<string, BrokerThread>()

/**
 * Opens a session in this process's broker thread for the file, which is started for the first and ends with the last.
 * @throws BUZZER_INVALID_OPTION for a place that cannot hold a broker, or when another transport of this process on the
 *   same file was given other options
 */
export function openSession(request: SessionRequest): SessionPort {
  const place = prepareBrokerPath(request.path)
  let thread = threads.get(place.file)
  if (thread === undefined) {
    thread = new BrokerThread(place, request.engine)
    threads.set(place.file, thread)
  }
  return thread.open(request)
}

class BrokerThread {
  readonly #place: BrokerPath
  readonly #options: EngineOptions
  readonly #worker: Worker
  readonly #loggers = new Set<Logger>()
  readonly #ended: Promise<void>
  readonly #pulse = newPulse()
  /** What the thread says last may come when all sessions have ended. */
  #lastLogger: Logger | undefined
  #sessions = 0

  constructor(place: BrokerPath, options: EngineOptions) {
    this.#place = place
    this.#options = options
    const data: BrokerThreadData = { path: place.file, pulse: this.#pulse, engine: options }
    this.#worker = new Worker(threadEntry('main'), {
      workerData: data,
      name: 'buzzer broker',
      execArgv: threadArguments(),
    })
    this.#worker.on('message', (message: FromBrokerThread) => this.#receive(message))
    this.#ended = new Promise(resolve => {
      this.#worker.on('error', error => {
        for (const logger of this.#loggers) logger.error({ error, path: place.file }, 'the broker thread failed')
      })
      this.#worker.on('exit', () => {
        this.#forget()
        resolve()
      })
    })
    // Sessions keep the process alive while they have work; the thread by itself never does. After the listeners: a
    // listener for messages would hold the process again.
    this.#worker.unref()
  }

  open({ engine: options, mayHost, logger }: SessionRequest): SessionPort {
    for (const name of Object.keys(options) as (keyof EngineOptions)[]) {
      if (options[name] !== this.#options[name]) throw this.#differing(name, options[name])
    }
    const { port1, port2 } = new MessageChannel()
    this.#loggers.add(logger)
    this.#lastLogger = logger
    this.#post({ as: 'attach', port: port2, mayHost }, [port2])
    this.#sessions++
    const closed = new Promise<void>(resolve => {
      port1.on('close', () => {
        this.#loggers.delete(logger)
        if (--this.#sessions > 0) return resolve()
        // The thread now closes the file and ends; a transport that opens meanwhile gets a thread of its own.
        this.#forget()
        this.#worker.ref()
        resolve(this.#ended)
      })
    })
    return { port: port1, pulse: this.#pulse, closed }
  }

  #forget(): void {
    if (threads.get(this.#place.file) === this) threads.delete(this.#place.file)
  }

  #receive(message: FromBrokerThread): void {
    if (message.as === 'ping') return this.#post({ as: 'pong' })
    // One line for the process, not one for each transport.
    const [logger = this.#lastLogger] = this.#loggers
    logger?.[message.level]({ ...message.fields }, message.message)
  }

  #post(message: ToBrokerThread, transfer: readonly MessagePort[] = []): void {
    this.#worker.postMessage(message, transfer)
  }

  #differing(name: keyof EngineOptions, value: unknown): BuzzerError {
    const present = this.#options[name]
    return new BuzzerError(
      'BUZZER_INVALID_OPTION',
      `${name} is ${String(value)} here and ${String(present)} in another transport of this process on ${this.#place.file}; they share one broker and must agree`,
      { details: { option: name, value, present } },
    )
  }
}
