import { mark, readLayout, recordIntact, withoutGone } from '../storage/chunk-format.ts'
import type { Chunk } from './chunk.ts'
import type { Core } from './core.ts'

/** Smaller chunks are not worth a rewrite. */
const worthBytes = 1024
/** Rewrite when less than this part is left. */
const sparseShare = 4
/** So many sparse chunks may wait for a rest. Of more, one goes with every commit, and two of twice as many. */
const manySparse = 64
/** With a commit at rest. */
const restCompactions = 8

/** Whether a chunk may be kept alive by a few stragglers. */
export function isSparse(live: number, count: number): boolean {
  return live > 0 && live * sparseShare < count
}

/**
 * Stores sparse chunks anew without the messages that are gone; marks and sequences stay. Each rewrite leaves at most a
 * quarter of the bytes, so that a message is written again once or twice in its life, and what waits takes up its own size.
 */
export function compact(core: Core, isResting: boolean): void {
  let left = isResting ? restCompactions : Math.floor(core.sparse.size / manySparse)
  for (const [id, place] of core.sparse) {
    if (left-- === 0) return
    core.sparse.delete(id)
    const queue = core.queuesById.get(place.queue)
    const chunk = queue?.chunk(place.lane, id)
    if (queue === undefined || chunk === undefined) continue
    if (chunk.stored && isSparse(chunk.live, chunk.count)) rewrite(core, chunk)
    if (!chunk.dirty) queue.forget(chunk)
  }
}

function rewrite(core: Core, chunk: Chunk): void {
  const bodies = core.chunks.bodies(chunk.id)
  const layout = bodies === undefined ? undefined : readLayout(bodies)
  if (bodies === undefined || layout === undefined || layout.count !== chunk.count) return
  if (bodies.length < worthBytes || chunk.bytes * sparseShare > bodies.length) return
  // What is damaged stays as it is until it is delivered, and told.
  for (let index = 0; index < chunk.count; index++) {
    if (((chunk.marks[index] as number) & mark.gone) === 0 && !recordIntact(bodies, layout, index)) return
  }
  core.file.begin()
  const rewritten = withoutGone(bodies, layout, chunk.marks)
  core.chunks.rewrite(chunk.queue, chunk.row(), rewritten, chunk.marks)
  core.writtenBytes += rewritten.length
  core.uncache(chunk)
}
