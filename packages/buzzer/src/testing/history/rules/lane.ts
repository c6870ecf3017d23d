import type { FullPromises } from '../promises.ts'

/** What a message is ordered with: its queue, its key within the queue, or nothing. */
export function laneOf(
  { queue, key }: { readonly queue: string; readonly key?: string },
  { orderBy }: FullPromises,
): string | undefined {
  const own = typeof orderBy === 'string' ? orderBy : (orderBy[queue] ?? 'none')
  switch (own) {
    case 'none':
      return undefined
    case 'queue':
      return queue
    case 'key':
      return key === undefined ? undefined : `${queue} ${key}`
    default:
      return own satisfies never
  }
}
