import { Waiter } from './line.ts'

/** One call of a function: an item on its way, from its start until what came of it has its place in the output. */
export class Call<I, R> extends Waiter {
  readonly item: I
  readonly key: unknown
  attempt = 1
  /** Whether `value` is there, held until those before it have left. */
  ready = false
  value: unknown = undefined
  /** What the kind of block keeps beside the call. */
  more: R | undefined = undefined

  constructor(item: I, key: unknown) {
    super()
    this.item = item
    this.key = key
  }
}
