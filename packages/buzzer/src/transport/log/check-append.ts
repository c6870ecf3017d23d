import type { AppendBatch, AppendRecord, ExpectedPosition, LogCapabilities, LogHeader } from '../event-log.ts'
import { checkNames, invalidOption } from './invalid-option.ts'
import { logUnsupported, recordTooLarge } from './log-errors.ts'

/** Longest name of a producer, and most headers of one record. */
const maxNameLength = 256
const maxHeaders = 1_000
const keyShape = /^[\x21-\x7e]{1,128}$/

const batchNames: ReadonlySet<string> = new Set([
  'stream',
  'partition',
  'records',
  'expect',
  'producer',
  'deduplicationKey',
])
const recordNames: ReadonlySet<string> = new Set(['key', 'value', 'headers'])

/**
 * Checks what a caller gave to `append`, before anything leaves its process, and returns the bytes of all records.
 * @throws BUZZER_INVALID_OPTION, BUZZER_MESSAGE_TOO_LARGE (both sizes), BUZZER_UNSUPPORTED
 */
export function checkAppend(batches: readonly AppendBatch[], log: string, capabilities: LogCapabilities): number {
  if (!Array.isArray(batches)) throw invalidOption('batches', batches, 'a list of batches')
  let bytes = 0
  for (const batch of batches as readonly AppendBatch[]) {
    checkNames('batch', batch, batchNames)
    const { stream, partition, records, expect, producer, deduplicationKey } = batch
    if (typeof stream !== 'string') throw invalidOption('stream', stream, 'the name of a stream')
    if (partition !== undefined && !(Number.isInteger(partition) && partition >= 0)) {
      throw invalidOption('partition', partition, 'a whole number from 0')
    }
    if (!Array.isArray(records) || records.length === 0)
      throw invalidOption('records', records, 'a list of at least one record')
    if (expect !== undefined) checkExpect(expect, log, capabilities)
    if (producer !== undefined) {
      if (typeof producer !== 'object' || producer === null) throw invalidOption('producer', producer, 'an object')
      if (capabilities.producers !== 'durable') {
        throw logUnsupported(log, 'named producers', 'deduplicate at the reader by an id of your own')
      }
      checkProducerName(producer.name)
      checkPosition('producer.epoch', producer.epoch)
      if (checkPosition('producer.sequence', producer.sequence) < 1) {
        throw invalidOption('producer.sequence', producer.sequence, 'a whole number from 1')
      }
    }
    if (deduplicationKey !== undefined) {
      if (capabilities.deduplication === 'none') {
        throw logUnsupported(log, 'deduplication', 'deduplicate at the reader by an id of your own')
      }
      if (typeof deduplicationKey !== 'string' || !keyShape.test(deduplicationKey)) {
        throw invalidOption('deduplicationKey', deduplicationKey, '1 to 128 visible ASCII characters')
      }
    }
    for (const record of records as readonly AppendRecord[]) {
      const size = checkRecord(record)
      if (size > capabilities.maxRecordBytes) throw recordTooLarge(stream, size, capabilities.maxRecordBytes)
      bytes += size
    }
  }
  return bytes
}

/** @throws BUZZER_INVALID_OPTION */
export function checkProducerName(name: string): void {
  if (typeof name === 'string' && name.length >= 1 && name.length <= maxNameLength && name.isWellFormed()) return
  throw invalidOption('producer.name', name, `a text of 1 to ${maxNameLength} characters`)
}

function checkExpect(expect: ExpectedPosition, log: string, { expected }: LogCapabilities): void {
  if (typeof expect !== 'object' || expect === null) throw invalidOption('expect', expect, '{ end } or { key, last }')
  if ('end' in expect) {
    if (expected === 'none') throw logUnsupported(log, 'an expected position', 'decide before you append')
    checkPosition('expect.end', expect.end)
    return
  }
  if (expected !== 'key') throw logUnsupported(log, 'an expected position of a key', 'expect the end of the partition')
  checkKey(expect.key)
  if (expect.last !== 'none') checkPosition('expect.last', expect.last)
}

/** Key, headers and value of a record together; throws when they are not what they must be. */
function checkRecord(record: AppendRecord): number {
  checkNames('record', record, recordNames)
  const { key, value, headers } = record
  let bytes = 0
  if (value !== null) {
    if (!(value instanceof Uint8Array))
      throw invalidOption('value', value, 'bytes (Uint8Array), or null for a tombstone')
    bytes += value.byteLength
  }
  if (key !== undefined) {
    checkKey(key)
    bytes += Buffer.byteLength(key)
  }
  if (headers !== undefined) {
    if (!Array.isArray(headers) || headers.length > maxHeaders) {
      throw invalidOption('headers', headers, `a list of at most ${maxHeaders} pairs of name and bytes`)
    }
    for (const header of headers as readonly LogHeader[]) {
      if (!Array.isArray(header)) throw invalidOption('headers', header, 'pairs of name and bytes')
      const [name, bytesOfValue] = header as LogHeader
      if (typeof name !== 'string' || !name.isWellFormed())
        throw invalidOption('headers', name, 'names of well-formed text')
      if (!(bytesOfValue instanceof Uint8Array))
        throw invalidOption(`headers.${name}`, bytesOfValue, 'bytes (Uint8Array)')
      bytes += Buffer.byteLength(name) + bytesOfValue.byteLength
    }
  }
  return bytes
}

function checkKey(key: string): void {
  // A lone surrogate has no UTF-8: two keys that differ would become one.
  if (typeof key !== 'string' || !key.isWellFormed()) throw invalidOption('key', key, 'well-formed text')
}

function checkPosition(option: string, value: number): number {
  if (!Number.isSafeInteger(value) || value < 0) throw invalidOption(option, value, 'a whole number from 0')
  return value
}
