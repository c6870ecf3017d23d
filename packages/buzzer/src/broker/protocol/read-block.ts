import { toTimestamp } from '../../message/index.ts'
import { brokenFrame } from './byte-reader.ts'
import { dictionary, firstWord, longestRemembered, remembered, theId, theKey, theTime } from './text-block.ts'

let readTime = Number.NaN
let readTimeText = ''

/** As `toTimestamp`; what is read is older than what is written, and would push that out of its memory. */
function timeText(ms: number): string {
  if (ms !== readTime) {
    readTimeText = toTimestamp(ms)
    readTime = ms
  }
  return readTimeText
}

/** A block that was read: what all its messages share, and where they differ. */
export interface ReadBlock {
  readonly bytes: Buffer
  readonly contentType: string | undefined
  /** Frozen, for all messages of the block. */
  readonly headers: Readonly<Record<string, string>>
  readonly attributes: Readonly<Record<string, string>>
  /** Attributes that stand outside, with the dictionary entry that says where. */
  readonly open: readonly { readonly name: string; readonly from: number }[]
}

/** By length and a few bytes: a collision costs reading a block again. */
const read: (ReadBlock | undefined)[] = Array.from({ length: remembered })

/** The block in `bytes` from `start` to `end`. @throws BUZZER_PROTOCOL_MISMATCH for bytes that are none */
export function readBlock(bytes: Buffer, start: number, end: number): ReadBlock {
  const length = end - start
  const slot = (length + 7 * (bytes[start + (length >> 1)] ?? 0) + 13 * (bytes[end - 1] ?? 0)) % remembered
  const known = read[slot]
  if (known !== undefined && known.bytes.length === length && isAt(known.bytes, bytes, start)) return known
  const block = parseBlock(Buffer.from(bytes.subarray(start, end)))
  if (length <= longestRemembered) read[slot] = block
  return block
}

/** By hand: blocks are short, and a native comparison needs a view for each message. */
function isAt(part: Buffer, bytes: Buffer, start: number): boolean {
  for (let index = 0; index < part.length; index++) if (part[index] !== bytes[start + index]) return false
  return true
}

function parseBlock(bytes: Buffer): ReadBlock {
  let at = 1
  const varint = (): number => {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++]
      if (byte === undefined || shift > 28) throw brokenFrame('the texts of a message are broken')
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return value >>> 0
    }
  }
  const flags = bytes[0] ?? 0
  const attributeCount = varint()
  const headerCount = varint()
  const count = (flags & 2 ? 1 : 0) + 2 * (attributeCount + headerCount)
  if (count > bytes.length) throw brokenFrame('the texts of a message are cut off')
  const all = Array.from({ length: count }, varint)
  const text = bytes.toString(flags & 1 ? 'latin1' : 'utf8', at)
  let used = 0
  let next = 0
  const piece = (): string | number => {
    const token = all[next++] as number
    if (token & 1) {
      const entry = token >>> 1
      const word = dictionary[entry]
      if (word === undefined) throw brokenFrame('the texts of a message name an unknown word')
      return entry < firstWord ? entry : word
    }
    used += token >>> 1
    if (used > text.length) throw brokenFrame('the texts of a message are cut off')
    return text.slice(used - (token >>> 1), used)
  }
  const literal = (): string => {
    const one = piece()
    if (typeof one === 'number') throw brokenFrame('the texts of a message are broken')
    return one
  }
  const contentType = flags & 2 ? literal() : undefined
  const open: { readonly name: string; readonly from: number }[] = []
  const attributes: Record<string, string> = {}
  for (let left = attributeCount; left > 0; left--) {
    const name = literal()
    const value = piece()
    setText(attributes, name, typeof value === 'number' ? '' : value)
    if (typeof value === 'number') open.push({ name, from: value })
  }
  const headers: Record<string, string> = {}
  for (let left = headerCount; left > 0; left--) setText(headers, literal(), literal())
  return { bytes, contentType, headers: Object.freeze(headers), attributes, open }
}

export function setText(texts: Record<string, string>, name: string, value: string): void {
  if (name === '__proto__') {
    Object.defineProperty(texts, name, { value, enumerable: true, configurable: true, writable: true })
  } else texts[name] = value
}

/** The attributes of one message of the block; its own texts lie from `ownTexts` to `ownEnd`. */
export function attributesOf(
  block: ReadBlock,
  id: string,
  key: string | undefined,
  time: number | undefined,
  bytes: Buffer,
  ownTexts: number,
  ownEnd: number,
): Record<string, string> {
  // Of one shape for all messages of the block: the clone is one allocation.
  const attributes = { ...block.attributes }
  const { open } = block
  let at = ownTexts
  for (let index = 0; index < open.length; index++) {
    const { name, from } = open[index] as ReadBlock['open'][number]
    switch (from) {
      case theId:
        setText(attributes, name, id)
        break
      case theTime:
        if (time === undefined) throw brokenFrame('a message lacks its time')
        setText(attributes, name, timeText(time))
        break
      case theKey:
        setText(attributes, name, key ?? '')
        break
      default: {
        if (at + 2 > ownEnd) throw brokenFrame('a text of a message is missing')
        const end = at + 2 + bytes.readUInt16LE(at)
        if (end > ownEnd) throw brokenFrame('a text of a message is cut off')
        setText(attributes, name, bytes.toString('utf8', at + 2, end))
        at = end
      }
    }
  }
  return attributes
}
