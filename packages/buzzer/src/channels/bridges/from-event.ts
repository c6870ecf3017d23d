import { EventEmitter } from 'node:events'
import { boundedCore } from '../channel.ts'
import { type FullMode, requireFunction, requireOneOf, type WaitOptions } from '../options.ts'
import { OwningReader, type SourceReader } from './source-reader.ts'

export interface EventOptions<T> extends WaitOptions {
  /** Events held, integer ≥ 0. */
  capacity: number
  /** An emitter cannot wait: which event goes when `capacity` are held. */
  fullMode: Exclude<FullMode, 'wait'>
  /** Called once per dropped item, on the emitter's stack. */
  onDrop?: ((item: T) => void) | undefined
  /** Makes the item out of the event's arguments. Default: the first argument. */
  // oxlint-disable-next-line typescript/no-explicit-any -- events are not typed
  map?: ((...args: any[]) => T) | undefined
  /** An event that completes the channel. */
  endOn?: string | symbol | undefined
}

type Listener = (...args: unknown[]) => void

/**
 * A reader over an event, listening from the call on. The `error` event of an `EventEmitter` completes the channel with
 * the error, unless `error` is the event asked for. Aborting `signal` or disposing stops listening.
 */
export function fromEvent<T = unknown>(
  emitter: EventEmitter | EventTarget,
  event: string | symbol,
  options: EventOptions<T>,
): SourceReader<T> {
  const { signal, capacity, onDrop, endOn } = options
  const fullMode = requireOneOf('fullMode', options.fullMode, ['drop-newest', 'drop-oldest', 'drop-write'])
  if (options.map !== undefined) requireFunction('map', options.map)
  const map = options.map ?? ((first: T): T => first)
  const core = boundedCore<T>({ capacity, fullMode, onDrop })
  const listeners = new Map<string | symbol, Listener>()
  const reader = new OwningReader(core, unsubscribe, signal)

  listen(event, (...args) => void core.tryWrite(map(...(args as [T]))))
  if (endOn !== undefined && endOn !== event) {
    listen(endOn, first => end(endOn === 'error' && isNodeEmitter(emitter) ? first : undefined))
  }
  if (event !== 'error' && isNodeEmitter(emitter) && !listeners.has('error')) listen('error', end)
  if (signal?.aborted) void reader[Symbol.asyncDispose]()
  return reader

  function end(error: unknown): void {
    unsubscribe()
    reader.sourceEnded(error)
  }

  function listen(name: string | symbol, listener: Listener): void {
    listeners.set(name, listener)
    if (isNodeEmitter(emitter)) emitter.on(name, listener)
    else emitter.addEventListener(String(name), listener)
  }

  function unsubscribe(): void {
    for (const [name, listener] of listeners) {
      if (isNodeEmitter(emitter)) emitter.removeListener(name, listener)
      else emitter.removeEventListener(String(name), listener)
    }
  }
}

function isNodeEmitter(emitter: EventEmitter | EventTarget): emitter is EventEmitter {
  return emitter instanceof EventEmitter || typeof (emitter as Partial<EventEmitter>).on === 'function'
}
