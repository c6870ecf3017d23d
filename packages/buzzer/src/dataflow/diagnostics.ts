import { type Channel, channel } from 'node:diagnostics_channel'

// Published on `node:diagnostics_channel`; a message is built only when somebody has subscribed.

/** `buzzer:dataflow:fault`: `{ block, error, item? }`, once per error a block collects. */
export const faultChannel: Channel = channel('buzzer:dataflow:fault')
/** `buzzer:dataflow:skip`: `{ block, error, item, attempt }`. */
export const skipChannel: Channel = channel('buzzer:dataflow:skip')
/** `buzzer:dataflow:retry`: `{ block, error, item, attempt, afterMs }`. */
export const retryChannel: Channel = channel('buzzer:dataflow:retry')
/** `buzzer:dataflow:unmatched`: `{ block, item, policy }`. */
export const unmatchedChannel: Channel = channel('buzzer:dataflow:unmatched')
/** `buzzer:dataflow:stalled`: `{ block, outputCount, forMs }`, once per head that nobody takes. */
export const stalledChannel: Channel = channel('buzzer:dataflow:stalled')
/** `buzzer:dataflow:complete`: `{ block, error?, accepted, delivered, skipped, discarded }`. */
export const completeChannel: Channel = channel('buzzer:dataflow:complete')

/** How long a head must stand before `buzzer:dataflow:stalled` tells of it. */
export const stalledAfterMs = 5_000
