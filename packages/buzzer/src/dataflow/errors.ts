interface DataflowErrorOptions {
  cause?: unknown
  details?: Readonly<Record<string, unknown>>
}

/** The shape of every error of Buzzer (`code`, `retryable`, `details`), restated because this room imports channels only. */
abstract class DataflowError extends Error {
  abstract readonly code: `BUZZER_${string}`
  readonly retryable = false
  /** Structured facts: names, limits, values. */
  readonly details: Readonly<Record<string, unknown>>

  constructor(message: string, options: DataflowErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.details = options.details ?? {}
  }
}

/** The block takes or gives nothing more. `cause` is the block's error, if it failed. */
export class BlockClosedError extends DataflowError {
  override readonly name = 'BlockClosedError'
  readonly code = 'BUZZER_BLOCK_CLOSED'
}

/** Every link of the block refused `item` by its `where`, and the block's `unmatched` is `'fault'`. */
export class UnmatchedItemError extends DataflowError {
  override readonly name = 'UnmatchedItemError'
  readonly code = 'BUZZER_UNMATCHED_ITEM'
  readonly item: unknown

  constructor(block: string, item: unknown) {
    super(
      `no link of block "${block}" takes this item: link a catch-all such as nullTarget(), or set \`unmatched\` to 'drop' or 'wait'`,
      { details: { block } },
    )
    this.item = item
  }
}

/** `inWorkers` needs piscina, an optional peer dependency that is not installed. */
export class WorkerPoolMissingError extends DataflowError {
  override readonly name = 'WorkerPoolMissingError'
  readonly code = 'BUZZER_UNSUPPORTED'

  constructor(cause: unknown) {
    super('inWorkers needs the package piscina, which is not installed: npm install piscina@5', { cause })
  }
}

/** What turned-away callers of the block `name` are told; `error` is what it failed with, if it failed. */
export function blockClosed(name: string, error?: unknown): BlockClosedError {
  if (error === undefined) return new BlockClosedError(`block "${name}" is closed`, { details: { block: name } })
  const why = error instanceof Error ? error.message : typeof error === 'string' ? error : typeof error
  return new BlockClosedError(`block "${name}" has failed: ${why}`, { cause: error, details: { block: name } })
}

/** The reason of an abort that names none. */
export function abortError(what: string): DOMException {
  return new DOMException(`${what} was aborted`, 'AbortError')
}
