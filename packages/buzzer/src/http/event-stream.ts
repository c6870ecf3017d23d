import type { Clock } from '../message/index.ts'
import { type OperationEvent, type OperationRecord } from '../operations/index.ts'
import type { GatewayCore } from './core.ts'
import type { Exchange } from './exchange.ts'
import { Refusal } from './refusal.ts'

/** One operation of a stream, with the version its reader knows already. */
export interface StreamSource {
  readonly record: OperationRecord
  readonly after: number
}

const encoder = new TextEncoder()

/** Open event streams and their bounds. Source: spec http 5.6. */
export class EventStreams {
  readonly #core: GatewayCore
  readonly #ofPrincipal = new Map<string, number>()
  #open = 0

  constructor(core: GatewayCore) {
    this.#core = core
  }

  get open(): number {
    return this.#open
  }

  /**
   * The kept events of each source after what its reader knows, in order, without gap or repetition, then each new one.
   * 204 when nothing will follow. With several sources `id:` is their versions, joined by dots.
   */
  respond(exchange: Exchange, sources: readonly StreamSource[]): Response {
    if (sources.every(({ record, after }) => record.operation.done && after === record.operation.version)) {
      return new Response(null, { status: 204, headers: { 'Cache-Control': 'no-cache' } })
    }
    const leave = this.#enter(exchange)
    return new Response(this.#stream(exchange, sources, leave), {
      status: 200,
      headers: {
        'Content-Type': 'text/event-stream',
        'Cache-Control': 'no-cache',
        'X-Accel-Buffering': 'no',
      },
    })
  }

  #enter(exchange: Exchange): () => void {
    const { maxStreams, maxStreamsPerPrincipal } = this.#core.settings.events
    const who =
      exchange.principal === undefined ? undefined : JSON.stringify([exchange.principal.tenant, exchange.principal.id])
    const own = who === undefined ? 0 : (this.#ofPrincipal.get(who) ?? 0)
    if (this.#open >= maxStreams || (who !== undefined && own >= maxStreamsPerPrincipal)) {
      throw new Refusal('too-many-streams', { retryAfterS: 5 })
    }
    this.#open++
    if (who !== undefined) this.#ofPrincipal.set(who, own + 1)
    let left = false
    return () => {
      if (left) return
      left = true
      this.#open--
      if (who === undefined) return
      const now = (this.#ofPrincipal.get(who) ?? 1) - 1
      if (now === 0) this.#ofPrincipal.delete(who)
      else this.#ofPrincipal.set(who, now)
    }
  }

  #stream(exchange: Exchange, sources: readonly StreamSource[], leave: () => void): ReadableStream<Uint8Array> {
    const { clock, settings, inside, resources, closing } = this.#core
    const { heartbeatMs, retryMs, maxBufferedBytes, maxAgeMs } = settings.events
    const gone = new AbortController()
    const signal = AbortSignal.any([gone.signal, exchange.request.signal])
    let drained: (() => void) | undefined
    let timers: readonly { stop(): void }[] = []

    const end = (): void => {
      for (const timer of timers) timer.stop()
      leave()
      gone.abort()
      drained?.()
    }

    return new ReadableStream<Uint8Array>(
      {
        start: controller => {
          const close = (lastLine?: string): void => {
            if (gone.signal.aborted) return
            end()
            if (lastLine !== undefined) controller.enqueue(encoder.encode(lastLine))
            controller.close()
          }
          const cut = (why: string): void => {
            if (gone.signal.aborted) return
            end()
            controller.error(new Error(why))
          }
          const write = async (text: string, isReplay: boolean): Promise<void> => {
            const chunk = encoder.encode(text)
            // What comes from the store waits for the reader; what is live must not pile up in memory.
            if (isReplay) {
              while ((controller.desiredSize ?? 0) <= 0 && !signal.aborted) {
                await new Promise<void>(resolve => {
                  drained = resolve
                })
              }
            } else if (chunk.byteLength > (controller.desiredSize ?? 0)) {
              cut('the reader of an event stream is too far behind')
              return
            }
            if (!gone.signal.aborted) controller.enqueue(chunk)
          }

          const versions = sources.map(({ after }) => after)
          let turn: Promise<void> = Promise.resolve()
          const known = sources.map(({ record }) => record.operation.version)
          const run = async (source: StreamSource, index: number): Promise<void> => {
            const { record, after } = source
            for await (const event of inside.following.events(record.operation.id, after, signal)) {
              const body = resources.body(record, event.operation)
              // One at a time: a position must not name an event of another source that is not written yet.
              turn = turn.then(() => {
                versions[index] = event.version
                return write(frame(versions, event, body), event.version <= (known[index] ?? 0))
              })
              await turn
            }
          }

          timers = [every(clock, heartbeatMs, () => void write(':\n\n', false)), every(clock, maxAgeMs, () => close())]
          const onClosing = (): void => close(`retry: ${retryMs}\n\n`)
          closing.addEventListener('abort', onClosing, { once: true })
          gone.signal.addEventListener('abort', () => closing.removeEventListener('abort', onClosing), { once: true })
          exchange.request.signal.addEventListener('abort', end, { once: true, signal: gone.signal })
          controller.enqueue(encoder.encode(`retry: ${retryMs}\n\n`))
          if (closing.aborted) onClosing()
          Promise.all(sources.map(run)).then(
            () => close(),
            (error: unknown) => {
              if (gone.signal.aborted || signal.aborted) return end()
              this.#core.logger.debug({ error }, 'an event stream broke off; its reader resumes')
              close(`retry: ${retryMs}\n\n`)
            },
          )
        },
        pull: () => drained?.(),
        cancel: end,
      },
      new ByteLengthQueuingStrategy({ highWaterMark: maxBufferedBytes }),
    )
  }
}

function frame(versions: readonly number[], event: OperationEvent, body: Record<string, unknown>): string {
  // JSON has no line breaks outside strings and escapes them inside, so one data line is enough.
  return `id: ${versions.join('.')}\nevent: ${event.type}\ndata: ${JSON.stringify(body)}\n\n`
}

function every(clock: Clock, ms: number, run: () => void): { stop(): void } {
  let stopped = false
  let timer: unknown
  const arm = (): void => {
    timer = clock.setTimeout(() => {
      if (stopped) return
      run()
      if (!stopped) arm()
    }, ms)
  }
  arm()
  return {
    stop() {
      stopped = true
      clock.clearTimeout(timer)
    },
  }
}

/**
 * Versions a reader knows, from `Last-Event-ID` or `?after=`: one per operation. What is no whole number from 0 to the
 * present version counts as none.
 */
export function readPosition(exchange: Exchange, records: readonly OperationRecord[]): number[] {
  const given = exchange.request.headers.get('last-event-id') ?? exchange.url.searchParams.get('after')
  const parts = given?.split('.') ?? []
  const isComplete = parts.length === records.length
  return records.map(({ operation }, index) => {
    const part = isComplete ? (parts[index] ?? '') : ''
    const version = /^\d{1,15}$/.test(part) ? Number(part) : 0
    return version <= operation.version ? version : 0
  })
}

/** Whether `Accept` asks for server-sent events. */
export function wantsEventStream(accept: string | null): boolean {
  if (accept === null) return false
  return accept.split(',').some(range => {
    const [type = '', ...parameters] = range.split(';').map(part => part.trim().toLowerCase())
    return type === 'text/event-stream' && !parameters.some(parameter => /^q=0(?:\.0*)?$/.test(parameter))
  })
}
