import { AssertionError } from 'node:assert/strict'
import type { AnyContract, MessageHeaders } from '../message/index.ts'
import type { Happening, Recorder } from './recorder.ts'

/** A message as a probe saw it. */
export interface Recorded<M> {
  readonly message: M
  readonly id: string
  readonly headers: MessageHeaders
  /** By the clock of the harness. */
  readonly at: Date
  readonly queue?: string
  readonly attempt?: number
  readonly causationId?: string
  readonly conversationId: string
  readonly error?: unknown
}

/**
 * What the bus under test did with messages of one contract (of events that extend it, too), in the order it happened.
 * Iterating gives what there is and what comes, until the harness is idle.
 */
export interface Probe<M> extends AsyncIterable<Recorded<M>> {
  count(): number
  all(): readonly Recorded<M>[]
  /** The first that fits, now or soon; rejects when the harness is idle without one. */
  first(where?: (recorded: Recorded<M>) => boolean): Promise<Recorded<M>>
  /** True as soon as one fits; false when the harness is idle without one. */
  any(where?: (recorded: Recorded<M>) => boolean): Promise<boolean>
}

/** What a probe looks at. */
export interface ProbeTarget {
  readonly recorder: Recorder
  readonly contract: AnyContract
  readonly what: Happening['what']
  /** In words, for the error of `first`. */
  readonly described: string
  readonly accepts: (happening: Happening) => boolean
  readonly idle: () => Promise<void>
}

export function createProbe<M>(target: ProbeTarget): Probe<M> {
  const all = (): readonly Recorded<M>[] =>
    target.recorder.happenings.filter(one => fits(target, one)).map(one => toRecorded<M>(target, one))

  const find = async (where: (recorded: Recorded<M>) => boolean): Promise<Recorded<M> | undefined> => {
    const seen = all().find(where)
    if (seen !== undefined) return seen
    let stop: (() => void) | undefined
    const coming = new Promise<Recorded<M>>(resolve => {
      stop = target.recorder.onChange(() => {
        const found = all().find(where)
        if (found !== undefined) resolve(found)
      })
    })
    try {
      return await Promise.race([coming, target.idle().then(() => all().find(where))])
    } finally {
      stop?.()
    }
  }

  return {
    count: () => all().length,
    all,
    async first(where = () => true) {
      const found = await find(where)
      if (found !== undefined) return found
      const others = all().length
      const near = others === 0 ? '' : ` fits (${others} do not)`
      throw new AssertionError({
        message: `nothing ${target.described} of ${target.contract.type}${near}, and the bus is idle`,
      })
    },
    async any(where = () => true) {
      return (await find(where)) !== undefined
    },
    async *[Symbol.asyncIterator]() {
      for (let at = 0; ; ) {
        const seen = all()
        if (at < seen.length) {
          yield seen[at++] as Recorded<M>
          continue
        }
        await target.idle()
        if (at === all().length) return
      }
    },
  }
}

function fits({ what, contract, accepts }: ProbeTarget, happening: Happening): boolean {
  return (
    happening.what === what &&
    (happening.type === contract.type || happening.baseTypes.includes(contract.type)) &&
    accepts(happening)
  )
}

function toRecorded<M>({ contract }: ProbeTarget, happening: Happening): Recorded<M> {
  const { id, headers, at, queue, attempt, causationId, conversationId, error } = happening
  return {
    message: happening.message(contract.codec) as M,
    id,
    headers,
    at,
    conversationId,
    ...(queue === undefined ? {} : { queue }),
    ...(attempt === undefined ? {} : { attempt }),
    ...(causationId === undefined ? {} : { causationId }),
    ...(error === undefined ? {} : { error }),
  }
}
