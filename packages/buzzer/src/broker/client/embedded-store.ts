import { AbortedError, BuzzerError, type JsonValue } from '../../message/index.ts'
import type {
  ClaimRequest,
  CollectionDeclaration,
  IndexQuery,
  Page,
  PageRequest,
  StateChange,
  Store,
  StoreContext,
  StoredRecord,
} from '../../store/index.ts'
import type { OutgoingMessage } from '../../transport/index.ts'
import type { Request } from '../protocol/index.ts'
import { checkPageLimit } from './page-limit.ts'

/** What the store needs of its transport. */
export interface StoreSession {
  connect(context: StoreContext): Promise<void>
  close(): Promise<void>
  ask(request: Request): Promise<unknown>
  send(
    messages: readonly OutgoingMessage[],
    state: readonly StateChange[],
    signal: AbortSignal | undefined,
  ): Promise<void>
  watch(collection: string, id: string, onChange: () => void): Promise<AsyncDisposable>
  readonly maxValueBytes: number
}

/**
 * The records in the broker's file. Their commits share the group commit of the messages, keep the order of the calls of
 * their transport, and happen exactly once over a change of the owner. Source: spec broker 10, bus 3.
 */
export class EmbeddedStore implements Store {
  readonly name = 'embedded'
  readonly capabilities: Store['capabilities']
  readonly #session: StoreSession

  constructor(session: StoreSession) {
    this.#session = session
    this.capabilities = { callerTransactions: 'none', maxValueBytes: session.maxValueBytes, durability: 'durable' }
  }

  /** Connects the transport it belongs to, unless that is done. */
  connect(context: StoreContext): Promise<void> {
    return this.#session.connect(context)
  }

  /** Closes the transport it belongs to if nobody but this store connected it. */
  close(): Promise<void> {
    return this.#session.close()
  }

  async declare(collections: readonly CollectionDeclaration[]): Promise<void> {
    await this.#session.ask({ call: 'store-declare', collections })
  }

  async get<T = JsonValue>(
    collection: string,
    id: string,
    options: { signal?: AbortSignal } = {},
  ): Promise<StoredRecord<T> | undefined> {
    const record = await unlessAborted(this.#session.ask({ call: 'store-get', collection, id }), options.signal)
    return (record ?? undefined) as StoredRecord<T> | undefined
  }

  async commit(changes: readonly StateChange[], options: { tx?: never; signal?: AbortSignal } = {}): Promise<void> {
    refuseTransaction(options.tx)
    for (const change of changes) if (change.op === 'put') this.#checkSize(change.collection, change.id, change.value)
    await this.#session.send([], changes, options.signal)
  }

  async query<T = JsonValue>(
    collection: string,
    where: IndexQuery,
    page?: PageRequest,
  ): Promise<Page<StoredRecord<T>>> {
    checkPageLimit(page?.limit)
    const request = { call: 'store-query', collection, where, ...(page === undefined ? {} : { page }) } as const
    return (await this.#session.ask(request)) as Page<StoredRecord<T>>
  }

  async claim<T = JsonValue>(collection: string, due: ClaimRequest): Promise<readonly StoredRecord<T>[]> {
    return (await this.#session.ask({ call: 'store-claim', collection, due })) as readonly StoredRecord<T>[]
  }

  watch(collection: string, id: string, onChange: () => void): Promise<AsyncDisposable> {
    return this.#session.watch(collection, id, onChange)
  }

  #checkSize(collection: string, id: string, value: JsonValue): void {
    const { maxValueBytes } = this.capabilities
    const text = JSON.stringify(value) ?? 'null'
    // A character is at most three bytes: short texts need no second look.
    if (text.length * 3 <= maxValueBytes) return
    const actualBytes = Buffer.byteLength(text)
    if (actualBytes <= maxValueBytes) return
    throw new BuzzerError(
      'BUZZER_MESSAGE_TOO_LARGE',
      `record ${id} of ${collection} has ${actualBytes} bytes; at most ${maxValueBytes} are stored`,
      { details: { collection, id, actualBytes, limitBytes: maxValueBytes } },
    )
  }
}

/** The embedded broker has no transactions of its caller. @throws BUZZER_UNSUPPORTED */
export function refuseTransaction(tx: unknown): void {
  if (tx === undefined) return
  throw new BuzzerError(
    'BUZZER_UNSUPPORTED',
    'the embedded broker takes no transaction of its caller; put the records into the `state` of the send or settlement',
    { details: { transport: 'embedded', feature: 'tx' } },
  )
}

/** Reading has no effect: an abort only stops waiting. */
async function unlessAborted<T>(answer: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await answer
  const stop = Promise.withResolvers<never>()
  const onAbort = (): void => stop.reject(new AbortedError(signal, 'the read'))
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })
  answer.catch(() => {})
  try {
    return await Promise.race([answer, stop.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
