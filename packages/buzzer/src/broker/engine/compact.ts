import { readLayout, withoutGone } from '../storage/chunk-format.ts'
import type { Core } from './core.ts'

/** Smaller chunks are not worth a rewrite. */
const worthBytes = 8 * 1024
/** Rewrite when less than this part is left. */
const sparseShare = 4

/** Whether a chunk may be kept alive by a few stragglers. */
export function isSparse(live: number, count: number): boolean {
  return live > 0 && live * sparseShare < count
}

/** Rewrites up to `limit` chunks without the messages that are gone; marks and sequences stay. */
export function compact(core: Core, limit: number): void {
  let left = limit
  for (const [id, place] of core.sparse) {
    if (left-- === 0) return
    core.sparse.delete(id)
    const queue = core.queuesById.get(place.queue)
    const chunk = queue?.chunk(place.lane, id)
    if (queue === undefined || chunk === undefined || !chunk.stored || !isSparse(chunk.live, chunk.count)) continue
    const bodies = core.chunks.bodies(id)
    const layout = bodies === undefined ? undefined : readLayout(bodies)
    if (bodies === undefined || layout === undefined || layout.count !== chunk.count) continue
    if (bodies.length < worthBytes || chunk.bytes * sparseShare > bodies.length) continue
    core.file.begin()
    const rewritten = withoutGone(bodies, layout, chunk.marks)
    core.chunks.rewriteBodies(id, rewritten)
    core.writtenBytes += rewritten.length
    core.uncache(chunk)
  }
}
