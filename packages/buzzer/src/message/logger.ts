/** Where Buzzer says what no promise can carry. `pino` and `console` fit as they are. */
export interface Logger {
  debug(fields: LogFields, message: string): void
  info(fields: LogFields, message: string): void
  warn(fields: LogFields, message: string): void
  error(fields: LogFields, message: string): void
}

export type LogFields = Readonly<Record<string, unknown>>

const order = { debug: 0, info: 1, warn: 2, error: 3, silent: 4 } as const

/** A logger that writes lines to stderr from `level` on. Default level: `BUZZER_LOG`, else `warn`. */
export function consoleLogger(level?: keyof typeof order): Logger {
  const wanted = level ?? process.env['BUZZER_LOG'] ?? 'warn'
  const from = wanted in order ? order[wanted as keyof typeof order] : order.warn
  const at =
    (name: 'debug' | 'info' | 'warn' | 'error') =>
    (fields: LogFields, message: string): void => {
      if (order[name] < from) return
      const { error, ...rest } = fields
      const facts = Object.keys(rest).length === 0 ? '' : ` ${JSON.stringify(rest)}`
      const tail = error instanceof Error ? `\n${error.stack ?? error.message}` : ''
      process.stderr.write(`buzzer ${name}: ${message}${facts}${tail}\n`)
    }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

/** Drops everything. */
export const silentLogger: Logger = {
  debug() {},
  info() {},
  warn() {},
  error() {},
}

/** A logger that adds `bound` to the fields of every line. */
export function bindLogger(logger: Logger, bound: LogFields): Logger {
  return {
    debug: (fields, message) => logger.debug({ ...bound, ...fields }, message),
    info: (fields, message) => logger.info({ ...bound, ...fields }, message),
    warn: (fields, message) => logger.warn({ ...bound, ...fields }, message),
    error: (fields, message) => logger.error({ ...bound, ...fields }, message),
  }
}
