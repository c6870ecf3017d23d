/**
 * When the broker thread last gave a sign, in memory that both threads see: milliseconds of the system's monotonic clock,
 * cut to 32 bits. Each thread's `performance.now` has an origin of its own, so this is the one place that reads the
 * system's clock by itself.
 */
export type Pulse = Int32Array<SharedArrayBuffer>

const beatAt = 0
const stops = 1

function nowMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n) | 0
}

export function newPulse(): Pulse {
  const pulse = new Int32Array(new SharedArrayBuffer(8))
  beat(pulse)
  return pulse
}

export function beat(pulse: Pulse): void {
  Atomics.store(pulse, beatAt, nowMs())
}

/** How long there was no sign. Right up to 24 days. */
export function silentMs(pulse: Pulse): number {
  return (nowMs() - Atomics.load(pulse, beatAt)) | 0
}

/** The process stood still, or its event loop did, for too long: what was fetched before belongs to others by now. */
export function noteStop(pulse: Pulse): void {
  Atomics.add(pulse, stops, 1)
}

export function stopCount(pulse: Pulse): number {
  return Atomics.load(pulse, stops)
}
