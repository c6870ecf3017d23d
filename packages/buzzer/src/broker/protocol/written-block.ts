import { BuzzerError, fromTimestamp, toTimestamp } from '../../message/index.ts'
import type { OutgoingMessage } from '../../transport/index.ts'
import { ByteWriter } from './byte-writer.ts'
import {
  longestOwnText,
  longestRemembered,
  ownNames,
  ownText,
  remembered,
  theId,
  theKey,
  theTime,
  words,
} from './text-block.ts'

/** A block that was written, and for which messages its bytes are right. */
export interface WrittenBlock {
  readonly bytes: Buffer
  /** Bytes of all its texts, as `maxMessageBytes` counts them, but for those that differ from message to message. */
  readonly textBytes: number
  readonly contentType: string | undefined
  readonly names: readonly string[]
  /** By index of `names`: a dictionary entry for what stands outside, or the value itself. */
  readonly values: readonly (string | number)[]
  readonly headerNames: readonly string[]
  readonly headerValues: readonly string[]
  readonly hasTime: boolean
  /** How many attributes have the id, the key, a text of their own. */
  readonly idValues: number
  readonly keyValues: number
  readonly ownTexts: number
}

function invalid(what: string, value: unknown): BuzzerError {
  return new BuzzerError('BUZZER_INVALID_MESSAGE', `a message cannot be sent: ${what}`, { details: { value } })
}

/** By type attribute, the last block of it. */
const written = new Map<string, WrittenBlock>()

/** The block of `message`: the last one of its type if it fits, else a new one. @throws BUZZER_INVALID_MESSAGE */
export function blockOf(message: OutgoingMessage): WrittenBlock {
  const type = message.attributes['type'] ?? ''
  const last = written.get(type)
  if (last !== undefined && fits(last, message)) return last
  const block = makeBlock(message)
  if (block.bytes.length <= longestRemembered) {
    if (written.size >= remembered) written.clear()
    written.set(type, block)
  }
  return block
}

const timeLength = '2026-01-01T00:00:00.000Z'.length
let lastTimeText = ''
let lastTime: number | undefined

/** The milliseconds of a time that `toTimestamp` gives back as it was; messages of one millisecond share theirs. */
export function exactTime(text: string): number | undefined {
  if (text === lastTimeText) return lastTime
  const ms = fromTimestamp(text)
  lastTimeText = text
  lastTime = ms !== undefined && text.length === timeLength && toTimestamp(ms) === text ? ms : undefined
  return lastTime
}

function fits(block: WrittenBlock, { id, key, attributes, headers, contentType }: OutgoingMessage): boolean {
  const { names, values, headerNames, headerValues } = block
  if (contentType !== block.contentType) return false
  let index = 0
  for (const name in attributes) {
    if (name !== names[index]) return false
    const known = values[index++] as string | number
    const value = attributes[name] as string
    if (typeof known === 'string' ? value !== known : !standsOutside(known, value, id, key)) return false
  }
  if (index !== names.length) return false
  index = 0
  for (const name in headers) {
    if (name !== headerNames[index] || headers[name] !== headerValues[index]) return false
    index++
  }
  return index === headerNames.length
}

/** Whether the value is where the block says that it stands. */
function standsOutside(from: number, value: unknown, id: string, key: string | undefined): boolean {
  if (typeof value !== 'string') return false
  switch (from) {
    case theId:
      return value === id
    case theTime:
      return exactTime(value) !== undefined
    case theKey:
      return value === key
    default:
      return value.length <= longestOwnText
  }
}

const tokens = new ByteWriter(256)
const texts = new ByteWriter(1_024)

function writeToken(text: string): boolean {
  const word = words.get(text)
  if (word !== undefined) {
    tokens.varint(2 * word + 1)
    return true
  }
  tokens.varint(2 * text.length)
  return texts.text(text)
}

function valueOf(name: string, value: string, { id, key }: OutgoingMessage): string | number {
  if (value === id) return theId
  if (name === 'time' && exactTime(value) !== undefined) return theTime
  if (name === 'partitionkey' && value === key) return theKey
  return ownNames.has(name) && value.length <= longestOwnText ? ownText : value
}

function makeBlock(message: OutgoingMessage): WrittenBlock {
  const { attributes, headers, contentType } = message
  const names = Object.keys(attributes)
  const headerNames = Object.keys(headers)
  for (const [given, own] of [
    [attributes, names],
    [headers, headerNames],
  ] as const) {
    for (const name of own) {
      if (typeof given[name] !== 'string')
        throw invalid(`the value of ${JSON.stringify(name)} is not a string`, given[name])
    }
  }
  const values = names.map(name => valueOf(name, attributes[name] as string, message))
  const headerValues = headerNames.map(name => headers[name] as string)
  tokens.rewind(0)
  texts.rewind(0)
  tokens.u8(0)
  tokens.varint(names.length)
  tokens.varint(headerNames.length)
  let ascii = contentType === undefined || writeToken(contentType)
  let textBytes = contentType === undefined ? 0 : Buffer.byteLength(contentType)
  for (const [index, name] of names.entries()) {
    const value = values[index] as string | number
    ascii = writeToken(name) && ascii
    textBytes += Buffer.byteLength(name)
    if (typeof value === 'number') tokens.varint(2 * value + 1)
    else {
      ascii = writeToken(value) && ascii
      textBytes += Buffer.byteLength(value)
    }
  }
  for (const [index, name] of headerNames.entries()) {
    const value = headerValues[index] as string
    ascii = writeToken(name) && ascii
    ascii = writeToken(value) && ascii
    textBytes += Buffer.byteLength(name) + Buffer.byteLength(value)
  }
  tokens.patchU8(0, (ascii ? 1 : 0) | (contentType === undefined ? 0 : 2))
  const bytes = Buffer.concat([tokens.peek(), texts.peek()])
  const count = (entry: number): number => values.filter(value => value === entry).length
  return {
    bytes,
    contentType,
    names,
    values,
    headerNames,
    headerValues,
    textBytes: textBytes + timeLength * count(theTime),
    hasTime: values.includes(theTime),
    idValues: count(theId),
    keyValues: count(theKey),
    ownTexts: count(ownText),
  }
}

/** Writes the texts of `message` that its block leaves to it: each behind its length in bytes. */
export function writeOwnTexts(writer: ByteWriter, block: WrittenBlock, message: OutgoingMessage): void {
  const { names, values } = block
  for (let index = 0; index < names.length; index++) {
    if (values[index] !== ownText) continue
    const start = writer.length
    writer.u16(0)
    writer.text(message.attributes[names[index] as string] as string)
    writer.patchU16(start, writer.length - start - 2)
  }
}
