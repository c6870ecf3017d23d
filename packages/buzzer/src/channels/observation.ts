import { type Channel as Diagnostics, channel } from 'node:diagnostics_channel'
import type { ChannelStats } from './options.ts'

/** What subscribers of `buzzer:channels:*` get: the numbers of that moment. */
export interface ChannelEvent extends ChannelStats {
  /** `complete` of a failed channel only. */
  readonly error?: unknown
}

const channels: Readonly<Record<'drop' | 'full' | 'room' | 'complete', Diagnostics>> = {
  drop: channel('buzzer:channels:drop'),
  full: channel('buzzer:channels:full'),
  room: channel('buzzer:channels:room'),
  complete: channel('buzzer:channels:complete'),
}

/** Publishes to `node:diagnostics_channel`; the event is built only when somebody subscribed. */
export function publish(event: keyof typeof channels, stats: () => ChannelStats, error?: unknown): void {
  const target = channels[event]
  if (target.hasSubscribers) target.publish(error === undefined ? stats() : { ...stats(), error })
}
