import { BufferedReader } from './buffered-channel.ts'
import { boundedCore } from './channel.ts'
import type { ChannelCore } from './channel-core.ts'
import { empty } from './empty.ts'
import { type FullMode, requireFunction, requireInteger } from './options.ts'
import type { ChannelReader } from './reader.ts'
import { Turn } from './turn.ts'

export interface TeeOptions<T> {
  /** Items held per branch, integer ≥ 0. Default 16. */
  capacity?: number | undefined
  /** What a full branch does. With `wait`, the default, the slowest branch sets the pace. */
  fullMode?: FullMode | undefined
  /** Called once per item that a branch gave up, with the branch's index. What it throws fails all branches. */
  onDrop?: ((item: T, branch: number) => void) | undefined
}

class Branch<T> extends BufferedReader<T> implements Disposable {
  readonly #leave: () => void

  constructor(core: ChannelCore<T>, leave: (branch: Branch<T>) => void) {
    super(core)
    this.#leave = () => leave(this)
  }

  /** Leaves the tee: nothing is held for this branch any more, and it ends. */
  [Symbol.dispose](): void {
    this.#leave()
    this.core.abort(undefined)
  }
}

/**
 * Gives every item of `reader` to each of `branches` readers, in order. An item is taken from the source only when every
 * branch has room for it, so nothing is held but what the branches hold. Completion and errors go to all branches.
 * Disposing a branch leaves the tee; when all have left, the source is left alone. Over a rendezvous it is met by
 * `write`, not by `tryWrite`. Source: spec channels 2.7.
 */
export function tee<T>(
  reader: ChannelReader<T>,
  branches: number,
  options: TeeOptions<T> = {},
): (ChannelReader<T> & Disposable)[] {
  requireInteger('branches', branches, 1)
  const { capacity = 16, fullMode, onDrop } = options
  if (onDrop !== undefined) requireFunction('onDrop', onDrop)
  const present = new Set<Branch<T>>()
  const allLeft = new AbortController()
  const leave = (branch: Branch<T>): void => {
    if (present.delete(branch) && present.size === 0) allLeft.abort()
  }
  const all = Array.from({ length: branches }, (_, index) => {
    const core = boundedCore<T>({
      capacity,
      fullMode,
      ...(onDrop === undefined ? {} : { onDrop: (item: T) => onDrop(item, index) }),
    })
    return new Branch(core, leave)
  })
  for (const branch of all) present.add(branch)
  void distribute(reader, present, allLeft.signal)
  return all
}

async function distribute<T>(reader: ChannelReader<T>, present: Set<Branch<T>>, allLeft: AbortSignal): Promise<void> {
  const turn = new Turn()
  let failure: unknown
  try {
    for (;;) {
      const slow = [...present].find(branch => !branch.core.ready)
      if (slow !== undefined) {
        await slow.core.waitToWrite(undefined)
        continue
      }
      if (allLeft.aborted) return
      const item = reader.tryRead()
      if (item === empty) {
        if (!(await reader.waitToRead({ signal: allLeft }))) break
      } else {
        for (const { core } of present) core.tryWrite(item)
        if (turn.due()) await turn.promise(undefined)
      }
    }
  } catch (error) {
    failure = error
  }
  for (const { core } of present) core.close(failure)
}
