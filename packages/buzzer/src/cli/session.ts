import { type Bus, type BusOptions, createBus } from '../bus/index.ts'
import { embedded, type EmbeddedTransport } from '../broker/index.ts'
import { hasCode, silentLogger, type Logger } from '../message/index.ts'
import { attachTracking } from '../operations/index.ts'
import type { Transport } from '../transport/index.ts'
import type { Console } from './console.ts'
import { CommandError, exitCodes } from './exit-code.ts'
import { foreignBroker } from './foreign-transport.ts'
import type { Output } from './output.ts'
import { describeTarget, type Target, targetFile, type TargetOptions, targetOf } from './target.ts'

/** Options that every command has. */
export interface GlobalOptions extends TargetOptions {
  readonly host?: true
  readonly timeout: number
  readonly json?: true
  readonly table?: true
  readonly verbose?: true
}

/** What a command works with. */
export interface Session {
  readonly console: Console
  readonly output: Output
  readonly options: GlobalOptions
}

/** A file whose owner is just being replaced has none for up to two seconds. */
const joinLimitMs = 2_500
/** One try to reach the owner. */
const tryMs = 1_000

/**
 * Joins the system as one more bus without handlers, acts, leaves. On a broker file the command is a client that never
 * hosts the engine, so it disturbs nobody; with no process there it says so, and hosts only when asked (`--host`).
 */
export async function withBus<T>(
  session: Session,
  act: (bus: Bus<unknown>, transport: Transport<unknown>) => Promise<T>,
): Promise<T> {
  const target = targetOf(session.options, session.console)
  if (target.as === 'embedded') return withFile(session, act)
  const broker = await foreignBroker(target, session.console)
  return run(session, target, broker, bus => act(bus, broker.transport))
}

/** As `withBus`, for what only a broker file can do. */
export async function withFile<T>(
  session: Session,
  act: (bus: Bus<unknown>, transport: EmbeddedTransport) => Promise<T>,
): Promise<T> {
  const { console, options } = session
  const file = targetFile(options, console)
  const transport = embedded({
    path: file,
    host: options.host === true ? 'auto' : 'never',
    connectTimeoutMs: tryMs,
  })
  return run(session, { as: 'embedded', file }, { transport }, bus => act(bus, transport))
}

async function run<T>(
  session: Session,
  target: Target,
  broker: Pick<BusOptions<unknown, unknown>, 'transport' | 'store'>,
  act: (bus: Bus<unknown>) => Promise<T>,
): Promise<T> {
  const { console, options } = session
  const bus = createBus<unknown, unknown>({ name: 'buzzer-cli', logger: loggerOf(session), ...broker })
  // A redrive reopens the operation the message belongs to.
  attachTracking(bus)
  const waitsForOwner = target.as === 'embedded' && options.host !== true
  try {
    // A bus waits for a broker that is away; a command does not.
    const limitMs = waitsForOwner ? joinLimitMs : options.timeout * 1_000
    await bus.start({ signal: AbortSignal.any([console.signal, AbortSignal.timeout(limitMs)]) })
  } catch (error) {
    await bus.stop().catch(() => undefined)
    if (console.signal.aborted) throw new CommandError(exitCodes.interrupted, 'interrupted', error)
    if (!hasCode(error, 'BUZZER_DISCONNECTED') && !hasCode(error, 'BUZZER_ABORTED')) throw error
    throw new CommandError(
      exitCodes.notBegun,
      waitsForOwner
        ? `no running process has ${describeTarget(target)} open. Start one, or add --host to open the file from here.`
        : `${describeTarget(target)} does not answer.`,
      error,
    )
  }
  try {
    return await within(options.timeout, console.signal, act(bus))
  } finally {
    await bus.stop({ timeoutMs: 1_000 })
  }
}

function within<T>(seconds: number, interrupted: AbortSignal, work: Promise<T>): Promise<T> {
  const limit = AbortSignal.timeout(seconds * 1_000)
  const ended = new Promise<never>((_, reject) => {
    limit.addEventListener('abort', () =>
      reject(new CommandError(exitCodes.timedOut, `no answer within ${seconds} s. Give more with --timeout.`)),
    )
    interrupted.addEventListener('abort', () => reject(new CommandError(exitCodes.interrupted, 'interrupted')))
  })
  return Promise.race([work, ended])
}

function loggerOf({ options, console }: Session): Logger {
  if (options.verbose !== true) return silentLogger
  const line = (fields: unknown, message: string): void => console.complain(`${message} ${JSON.stringify(fields)}\n`)
  return { debug: line, info: line, warn: line, error: line }
}
