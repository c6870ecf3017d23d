import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { BuzzerError, type LogFields } from '../../message/index.ts'

/**
 * Judges a write-ahead file before SQLite sees it, because SQLite drops every commit behind a broken frame without a
 * word (spec broker 11, fact 5). Walks the frames with the header's salts and the running checksum; from the first bad
 * frame on it counts frames of the same salts that carry a commit. None or one is a torn tail, as a power cut leaves it.
 * More is damage.
 *
 * The format: https://sqlite.org/fileformat2.html#walformat
 */
export interface WalVerdict {
  readonly frames: number
  /** Commits behind the first bad frame, which SQLite would drop. */
  readonly lostCommits: number
}

const headerBytes = 32
const frameHeaderBytes = 24

interface Sum {
  first: number
  second: number
}

function add(sum: Sum, bytes: Buffer, from: number, to: number, bigEndian: boolean): void {
  let { first, second } = sum
  for (let at = from; at < to; at += 8) {
    const left = bigEndian ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at)
    const right = bigEndian ? bytes.readUInt32BE(at + 4) : bytes.readUInt32LE(at + 4)
    first = (first + left + second) >>> 0
    second = (second + right + first) >>> 0
  }
  sum.first = first
  sum.second = second
}

/**
 * An owner may write on while its file is judged: a frame that is read when half of it is written looks broken, and those
 * read after it are whole; or the file begins anew, its old frames behind the new ones. Damage is what is found twice in the
 * same place. What is somewhere else each of these times is an owner at work.
 */
const mostRounds = 10

export function judgeWal(path: string): WalVerdict {
  let file: number
  try {
    file = openSync(path, 'r')
  } catch {
    return { frames: 0, lostCommits: 0 }
  }
  try {
    let before: { readonly header: Buffer; readonly frames: number } | undefined
    for (let round = 1; ; round++) {
      const size = fstatSync(file).size
      if (size < headerBytes) return { frames: 0, lostCommits: 0 }
      const header = readHeader(file)
      const verdict = walk(file, size, header)
      const { frames, lostCommits } = verdict
      if (lostCommits < 2) return verdict
      const isSameFile = header.equals(readHeader(file))
      if (isSameFile && before?.frames === frames && before.header.equals(header)) return verdict
      if (round === mostRounds) return { frames, lostCommits: 0 }
      before = { header, frames }
    }
  } finally {
    closeSync(file)
  }
}

function readHeader(file: number): Buffer {
  const header = Buffer.alloc(headerBytes)
  readSync(file, header, 0, headerBytes, 0)
  return header
}

function walk(file: number, size: number, header: Buffer): WalVerdict {
  const magic = header.readUInt32BE(0)
  const pageBytes = header.readUInt32BE(8)
  const sum: Sum = { first: 0, second: 0 }
  const bigEndian = (magic & 1) === 1
  add(sum, header, 0, 24, bigEndian)
  const headerHolds =
    magic >>> 1 === 0x377f0682 >>> 1 && sum.first === header.readUInt32BE(24) && sum.second === header.readUInt32BE(28)
  const plausiblePage = pageBytes >= 512 && pageBytes <= 65_536 && (pageBytes & (pageBytes - 1)) === 0
  if (!plausiblePage) return { frames: 0, lostCommits: size > headerBytes + frameHeaderBytes + 512 ? 2 : 0 }
  const salts = header.subarray(16, 24)
  const frame = Buffer.alloc(frameHeaderBytes + pageBytes)
  let good = headerHolds
  let frames = 0
  let lostCommits = 0
  for (let at = headerBytes; at + frame.length <= size; at += frame.length) {
    readSync(file, frame, 0, frame.length, at)
    const ours = frame.compare(salts, 0, 8, 8, 16) === 0
    if (good) {
      add(sum, frame, 0, 8, bigEndian)
      add(sum, frame, frameHeaderBytes, frame.length, bigEndian)
      good = ours && sum.first === frame.readUInt32BE(16) && sum.second === frame.readUInt32BE(20)
      if (good) {
        frames++
        continue
      }
    }
    if (ours && frame.readUInt32BE(4) !== 0) lostCommits++
  }
  return { frames, lostCommits }
}

/**
 * The durability class that the file was last served in, as the database alone records it, its write-ahead file left
 * aside. Undefined when it cannot be read: a new file, or one that is damaged, which its opening will tell.
 */
export function recordedDurability(path: string): 'fsync' | 'os' | undefined {
  let database: DatabaseSync | undefined
  try {
    const url = pathToFileURL(path)
    // SQLite then takes no lock and does not look at the write-ahead file: https://sqlite.org/uri.html#uriimmutable
    url.searchParams.set('immutable', '1')
    database = new DatabaseSync(url, { readOnly: true })
    const value = database.prepare("select value from meta where name = 'durability'").get()?.['value']
    return value === 'fsync' || value === 'os' ? value : undefined
  } catch {
    return undefined
  } finally {
    database?.close()
  }
}

/**
 * Acknowledged commits that SQLite would drop: refused, unless they were promised to survive the death of processes only
 * and a power cut may have torn them.
 * @throws BUZZER_FILE_DAMAGED in class `fsync`; the file is left as it is
 */
export function refuseDamagedWal(
  walPath: string,
  durability: 'fsync' | 'os',
  report: (level: 'warn', fields: LogFields, message: string) => void,
): void {
  const { frames, lostCommits } = judgeWal(walPath)
  if (lostCommits < 2) return
  const facts = { path: walPath, frames, lostCommits }
  if (durability === 'os') {
    report(
      'warn',
      facts,
      "the write-ahead file is torn, and durability 'os' does not cover a power cut: commits are lost",
    )
    return
  }
  throw new BuzzerError(
    'BUZZER_FILE_DAMAGED',
    `the write-ahead file ${walPath} is damaged behind frame ${frames}: ${lostCommits} commits after it would be lost. ` +
      'Nothing was changed; copy the files away and run salvage, or restore a backup',
    { details: facts },
  )
}
