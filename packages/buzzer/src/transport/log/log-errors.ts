import { BuzzerError } from '../../message/index.ts'

/** The errors every log has in common, so that all say the same with the same details. */
export function streamNotFound(stream: string): BuzzerError {
  return new BuzzerError(
    'BUZZER_STREAM_NOT_FOUND',
    `there is no stream ${JSON.stringify(stream)}; declare it before it is used`,
    { details: { stream } },
  )
}

export function partitionNotFound(stream: string, partition: number, partitions: number): BuzzerError {
  return new BuzzerError(
    'BUZZER_INVALID_OPTION',
    `stream ${JSON.stringify(stream)} has partitions 0 to ${partitions - 1}; there is no partition ${partition}`,
    { details: { option: 'partition', value: partition, stream, partitions } },
  )
}

/** A position below the first kept record. */
export function logTrimmed(stream: string, partition: number, position: number, first: number): BuzzerError {
  return new BuzzerError(
    'BUZZER_LOG_TRIMMED',
    `position ${position} of ${stream}/${partition} is gone: the first kept record has position ${first}. Read on there, knowing that ${first - position} are missing`,
    { details: { stream, partition, position, first } },
  )
}

/** A position beyond the end. */
export function logPosition(stream: string, partition: number, position: number, end: number): BuzzerError {
  return new BuzzerError(
    'BUZZER_LOG_POSITION',
    `position ${position} of ${stream}/${partition} is beyond its end: the next record gets position ${end}`,
    { details: { stream, partition, position, end } },
  )
}

/** An append whose expected position is not the actual one. `key` when the expectation was about a key. */
export function logConflict(
  stream: string,
  partition: number,
  expected: number | 'none',
  actual: number | 'none',
  key?: string,
): BuzzerError {
  const what = key === undefined ? 'the next position' : `the last record of key ${JSON.stringify(key)}`
  return new BuzzerError(
    'BUZZER_LOG_CONFLICT',
    `${stream}/${partition}: ${what} was expected to be ${expected} and is ${actual}; nothing was stored. Read what is new and decide again`,
    { details: { stream, partition, expected, actual, ...(key === undefined ? {} : { key }) } },
  )
}

/** An append by a producer whose epoch is not the present one. */
export function producerFenced(stream: string, name: string, epoch: number, current: number): BuzzerError {
  return new BuzzerError(
    'BUZZER_PRODUCER_FENCED',
    `producer ${JSON.stringify(name)} of ${stream} has epoch ${current} now; an append with epoch ${epoch} stored nothing`,
    { details: { stream, producer: name, epoch, current } },
  )
}

/** A record that is larger than its log takes. */
export function recordTooLarge(stream: string, actualBytes: number, limitBytes: number): BuzzerError {
  return new BuzzerError(
    'BUZZER_MESSAGE_TOO_LARGE',
    `a record for ${stream} has ${actualBytes} bytes of key, headers and value; this log takes at most ${limitBytes}. Nothing was stored`,
    { details: { stream, actualBytes, limitBytes } },
  )
}

/** A feature of the contract that a log, or this stream, does not have. */
export function logUnsupported(log: string, feature: string, instead: string): BuzzerError {
  return new BuzzerError('BUZZER_UNSUPPORTED', `${log}: ${feature} is not there; ${instead}`, {
    details: { log, feature },
  })
}
