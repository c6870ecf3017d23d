/**
 * "Nothing there": what `tryRead` and `tryPeek` answer, since `undefined` and `null` are ordinary items.
 * Registered, so that two copies of the package in one process agree on it.
 */
export const empty: unique symbol = Symbol.for('buzzer.channels.empty')

/** The type of `Channel.empty`. */
export type Empty = typeof empty

/** The complaint about `Channel.empty` offered as an item. */
export function emptyAsItem(): TypeError {
  return new TypeError('Channel.empty cannot be an item: it is the answer "nothing there" of tryRead')
}
