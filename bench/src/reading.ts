/** The message every broker is measured with: 200 bytes as JSON. */
export interface Reading {
  readonly sequence: number
  readonly sensor: string
  readonly at: string
  readonly celsius: number
  readonly note: string
}

const bare = {
  sequence: 1_000_000_000,
  sensor: 'boiler-room-7',
  at: '2026-11-23T18:00:00.000Z',
  celsius: 71.25,
  note: '',
}
const note = '.'.repeat(200 - JSON.stringify(bare).length)

/** The reading of a sequence number from 0; always 200 bytes. */
export function reading(sequence: number): Reading {
  return { ...bare, sequence: 1_000_000_000 + sequence, note }
}

/** Makes readings of `bytes` bytes of JSON, 200 at least. */
export function readingsOf(bytes: number): (sequence: number) => Reading {
  const longer = note + '.'.repeat(bytes - 200)
  return sequence => ({ ...reading(sequence), note: longer })
}

export function sequenceOf({ sequence }: Reading): number {
  return sequence - 1_000_000_000
}
