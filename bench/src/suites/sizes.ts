import { buzzer } from '../contenders/buzzer.ts'
import { rawLimit } from '../contenders/raw-limit.ts'
import type { Suite } from '../suite.ts'

/** Of the larger bodies fewer are in flight: 16 MiB at most. */
const sizes = [
  { name: '200 B', bytes: 200, inFlight: 1_000 },
  { name: '2 kB', bytes: 2_000, inFlight: 1_000 },
  { name: '20 kB', bytes: 20_000, inFlight: 800 },
  { name: '200 kB', bytes: 200_000, inFlight: 80 },
] as const

const embedded = sizes.map(({ name, bytes, inFlight }) => ({
  name: `embedded, ${name}`,
  transport: 'embedded' as const,
  bytes,
  inFlight,
  concurrency: 256,
  prefetch: inFlight,
}))

export const suite: Suite = {
  title: 'Cost of a message by the size of its body',
  cases: [
    {
      name: 'publish → handle → acknowledge, by size',
      operation: `JSON message published, handled and acknowledged; in flight ${sizes.map(({ name, inFlight }) => `${inFlight} of ${name}`).join(', ')}`,
      measure: 'per-second',
      contenders: [
        ...embedded.map(options => buzzer(options)),
        ...embedded.map(options => rawLimit(options.name.replace('embedded', 'append + fdatasync'), options)),
      ],
    },
  ],
}
