import type { Call } from './call.ts'
import type { OrderedPlaces } from './ordered-places.ts'
import type { QueueOutlet } from './queue-outlet.ts'

/** What a kind of block does with what its function gives. */
export interface Results<I, R> {
  /** Gives the call its place in the order of outputs. */
  place(call: Call<I, R>): void
  /** The value of the call. True: it is finished; false: it goes on, as an iterator does. */
  value(call: Call<I, R>, value: unknown): boolean
  /** The call has ended without a value. */
  nothing(call: Call<I, R>): void
  /** Whether the function may be called again. */
  readonly mayStart: boolean
  /** Whether the call can be made again. Default: yes. */
  mayRetry?(call: Call<I, R>): boolean
}

/** Where synchronous results go. */
export interface Straight {
  /** Not set: nothing comes of an item. */
  readonly outlet?: QueueOutlet<unknown>
  /** Not set: outputs are not ordered. */
  readonly places?: OrderedPlaces<unknown>
}
