import { BuzzerError } from 'buzzer'
import { queueFullState } from '../connection/sql-error.ts'

/** The refusal of our own functions in an error of the database: BUZZER_QUEUE_FULL, or `undefined`. */
export function refusalOf(error: unknown, prefix: string): BuzzerError | undefined {
  const seen = new Set<unknown>()
  for (let link = error; typeof link === 'object' && link !== null && !seen.has(link); ) {
    seen.add(link)
    const { code, detail, cause, meta } = link as {
      code?: unknown
      detail?: unknown
      cause?: unknown
      meta?: { code?: unknown; message?: unknown }
    }
    if (code === queueFullState && typeof detail === 'string') return queueFull(detail, prefix)
    if (meta?.code === queueFullState)
      return new BuzzerError('BUZZER_QUEUE_FULL', `${String(meta.message)}; nothing of this send was stored`)
    link = cause
  }
  return undefined
}

function queueFull(detail: string, prefix: string): BuzzerError {
  const { queue, limit, value, present } = JSON.parse(detail) as {
    queue: string
    limit: string
    value: number
    present: number
  }
  const name = queue.slice(prefix.length)
  return new BuzzerError(
    'BUZZER_QUEUE_FULL',
    `queue ${name} is full: ${present} of ${limit} ${value}; nothing of this send was stored, try again later`,
    { details: { queue: name, limit, value, present } },
  )
}
