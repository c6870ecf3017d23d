import { BufferedChannel } from './buffered-channel.ts'
import { ChannelCore } from './channel-core.ts'
import { processClock } from './clock.ts'
import { empty } from './empty.ts'
import {
  type BoundedOptions,
  type ChannelOptions,
  type ChannelStats,
  checkChannelOptions,
  type FullMode,
  type PrioritizedOptions,
  type RendezvousOptions,
  requireCapacity,
  requireFunction,
  requireOneOf,
} from './options.ts'
import { Heap, SortedItems } from './priority.ts'
import type { ChannelReader } from './reader.ts'
import { Ring, type Store } from './ring.ts'
import type { ChannelWriter } from './writer.ts'

/**
 * A typed buffer between those who make work and those who do it. Items leave in the order of acceptance (a prioritized
 * channel: by `compare`). Any number of readers and writers may use it at once.
 */
export interface Channel<T> extends AsyncDisposable {
  readonly name: string
  /** The same object every time. */
  readonly reader: ChannelReader<T>
  readonly writer: ChannelWriter<T>
  stats(): ChannelStats
  /** `writer.abort()`: never waits for anybody. To drain instead: `writer.complete(); await reader.completion`. */
  [Symbol.asyncDispose](): Promise<void>
}

export interface ChannelFactory {
  /** "Nothing there": what `tryRead` and `tryPeek` answer. `undefined` and `null` are ordinary items. */
  readonly empty: typeof empty
  /** Holds at most `capacity` items; what a write to a full channel does is `fullMode`, default `wait`. */
  bounded<T>(options: number | BoundedOptions<T>): Channel<T>
  /** Never full. For work that is bounded elsewhere: memory is the only limit. */
  unbounded<T>(options?: ChannelOptions<T>): Channel<T>
  /** Lowest by `compare` first, equal items in the order of acceptance. */
  prioritized<T>(options: PrioritizedOptions<T>): Channel<T>
  /** Holds nothing: a write is done when a reader has the item. */
  rendezvous<T>(options?: RendezvousOptions<T>): Channel<T>
}

const fullModes: readonly FullMode[] = ['wait', 'drop-newest', 'drop-oldest', 'drop-write']

const created = { bounded: 0, unbounded: 0, prioritized: 0, rendezvous: 0 }

interface Plan<T> {
  readonly kind: keyof typeof created
  readonly options: ChannelOptions<T>
  readonly capacity: number
  readonly store?: Store<T>
  readonly fullMode?: FullMode | 'drop-last' | undefined
  readonly weigh?: ((item: T) => number) | undefined
  readonly onDemand?: (() => void) | undefined
}

function coreFor<T>({ kind, options, capacity, store, fullMode, weigh, onDemand }: Plan<T>): ChannelCore<T> {
  checkChannelOptions(options)
  created[kind]++
  return new ChannelCore<T>({
    name: options.name ?? `${kind}-${created[kind]}`,
    clock: options.clock ?? processClock,
    store: store ?? new Ring<T>(),
    capacity,
    fullMode: fullMode ?? 'wait',
    onDrop: options.onDrop,
    weigh,
    onDemand,
  })
}

function create<T>(plan: Plan<T>): Channel<T> {
  return new BufferedChannel(coreFor(plan))
}

/** What is inside a bounded channel, for readers of this room that fill it themselves. */
export function boundedCore<T>(options: BoundedOptions<T>, onDemand?: () => void): ChannelCore<T> {
  const capacity = requireCapacity(options.capacity)
  if (options.fullMode !== undefined) requireOneOf('fullMode', options.fullMode, fullModes)
  if (options.weigh !== undefined) requireFunction('weigh', options.weigh)
  return coreFor({ kind: 'bounded', options, capacity, fullMode: options.fullMode, weigh: options.weigh, onDemand })
}

export const Channel: ChannelFactory = {
  empty,

  bounded<T>(options: number | BoundedOptions<T>): Channel<T> {
    const bounded = typeof options === 'object' && options !== null ? options : { capacity: options }
    return new BufferedChannel(boundedCore(bounded))
  },

  unbounded<T>(options: ChannelOptions<T> = {}): Channel<T> {
    return create({ kind: 'unbounded', options, capacity: Infinity })
  },

  prioritized<T>(options: PrioritizedOptions<T>): Channel<T> {
    requireFunction('compare', options?.compare)
    const capacity = options.capacity === undefined ? Infinity : requireCapacity(options.capacity)
    if (options.fullMode !== undefined) requireOneOf('fullMode', options.fullMode, ['wait', 'drop-last'])
    const store = options.fullMode === 'drop-last' ? new SortedItems<T>(options.compare) : new Heap<T>(options.compare)
    return create({ kind: 'prioritized', options, capacity, store, fullMode: options.fullMode })
  },

  rendezvous<T>(options: RendezvousOptions<T> = {}): Channel<T> {
    if (options.fullMode !== undefined) requireOneOf('fullMode', options.fullMode, ['wait', 'drop-write'])
    return create({ kind: 'rendezvous', options, capacity: 0, fullMode: options.fullMode })
  },
}
