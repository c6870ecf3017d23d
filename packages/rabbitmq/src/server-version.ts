import { BuzzerError } from 'buzzer'

/** What kind of queue carries messages; see option `queueType`. */
export type QueueType = 'quorum' | 'classic'

/** What differs between servers, decided from the version alone. Source: spec transports 2.5, RabbitMQ release notes. */
export interface ServerBehaviour {
  /** As the server says it, for example `3.10.8`. */
  readonly version: string
  /** Priorities told apart: quorum queues have 1 before 4.0, two (above 4 is high) from 4.0, ten of ours from 4.3. */
  readonly priorities: 1 | 2 | 10
  /** Whether a queue counts deliveries (`x-delivery-count`): quorum queues do, classic ones do not. */
  readonly countsDeliveries: boolean
  /** Whether a nack with requeue adds to the count. From 4.3 only a reject does, so a release is uncounted there. */
  readonly countsReleases: boolean
  /** Whether `x-consumer-timeout` may be given for one queue. */
  readonly consumerTimeoutPerQueue: boolean
  /** The smallest frame the server accepts; below it the connection is refused. */
  readonly minFrameBytes: number
}

const oldest = [3, 10] as const

const oldestVersion = oldest.join('.')

/**
 * What to expect of the server found.
 * @throws BUZZER_UNSUPPORTED for a version before 3.10 (no time to live in quorum queues) or one that cannot be read
 */
export function serverBehaviour(version: string, queueType: QueueType): ServerBehaviour {
  const parsed = /^(\d+)\.(\d+)/.exec(version)
  const [major, minor] = parsed === null ? [Number.NaN, Number.NaN] : [Number(parsed[1]), Number(parsed[2])]
  const isAtLeast = (wantedMajor: number, wantedMinor: number): boolean =>
    major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)
  if (!isAtLeast(...oldest)) {
    throw unsupported(
      `the server is RabbitMQ ${version}; this transport needs ${oldestVersion} or newer, whose quorum queues know a time to live`,
      { found: version, needed: oldestVersion, nearest: 'a newer server' },
    )
  }
  const isQuorum = queueType === 'quorum'
  return {
    version,
    priorities: !isQuorum ? 1 : isAtLeast(4, 3) ? 10 : isAtLeast(4, 0) ? 2 : 1,
    countsDeliveries: isQuorum,
    countsReleases: isQuorum && !isAtLeast(4, 3),
    consumerTimeoutPerQueue: isAtLeast(3, 12),
    minFrameBytes: isAtLeast(4, 1) ? 8_192 : 4_096,
  }
}

/** An error that names the feature, what the server is, what it should be, and the nearest alternative. */
export function unsupported(message: string, details: Readonly<Record<string, unknown>>): BuzzerError {
  return new BuzzerError('BUZZER_UNSUPPORTED', `transport rabbitmq: ${message}`, {
    details: { transport: 'rabbitmq', ...details },
  })
}
