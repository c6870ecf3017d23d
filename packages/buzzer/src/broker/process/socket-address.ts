import { chmodSync, lstatSync, mkdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { posix } from 'node:path'
import { BuzzerError } from '../../message/index.ts'
import { type BrokerPath, notWritable } from './broker-path.ts'

/** Bytes of `sockaddr_un.sun_path` without the closing zero. Longer addresses are cut in silence by the system. */
const longestAddressBytes = { darwin: 103, others: 107 }

/** What an address depends on besides the path. */
export interface SocketPlace {
  readonly platform: NodeJS.Platform
  /** Effective user id; 0 where there is none. */
  readonly user: number
  readonly temporaryFolder: string
}

const here: SocketPlace = { platform: process.platform, user: process.geteuid?.() ?? 0, temporaryFolder: tmpdir() }

/**
 * Where the owner listens: beside the file, in a folder only this user may enter; in the temporary folder when that
 * address would be too long; a named pipe on Windows. Other processes read the address from the owner file, so theirs
 * may have another temporary folder. Source: spec broker 7.
 */
export function socketAddress(path: BrokerPath, place: SocketPlace = here): string {
  const { platform, user, temporaryFolder } = place
  if (platform === 'win32') return `\\\\.\\pipe\\buzzer-${path.digest}`
  const longest = platform === 'darwin' ? longestAddressBytes.darwin : longestAddressBytes.others
  const elsewhere = [temporaryFolder, '/tmp'].map(at => posix.join(at, `buzzer-${user}-${path.digest}`))
  for (const folder of [`${path.file}.socket`, ...elsewhere]) {
    const address = posix.join(folder, 's')
    if (Buffer.byteLength(address) <= longest) return address
  }
  throw new BuzzerError(
    'BUZZER_INVALID_OPTION',
    `no folder for the broker's socket is short enough: ${temporaryFolder} and /tmp lie too deep`,
    { details: { option: 'path', value: path.file } },
  )
}

/** Makes the socket's folder (0700, ours) and removes what a dead owner left. Call it only as the owner. */
export function prepareSocketAddress(address: string): void {
  if (process.platform === 'win32') return
  const folder = address.slice(0, address.lastIndexOf('/'))
  try {
    mkdirSync(folder, { mode: 0o700 })
  } catch (error) {
    if ((error as { code?: string }).code !== 'EEXIST') throw notWritable(folder, error)
  }
  // In a shared temporary folder the name is open to everyone: what somebody else made there first is not ours to use.
  const found = lstatSync(folder)
  if (!found.isDirectory() || found.uid !== (process.geteuid?.() ?? found.uid)) {
    throw new BuzzerError(
      'BUZZER_INVALID_OPTION',
      `${folder} belongs to somebody else: the broker's socket must lie in its user's own folder`,
      {
        details: { option: 'path', value: folder },
      },
    )
  }
  if ((found.mode & 0o077) !== 0) chmodSync(folder, 0o700)
  rmSync(address, { force: true })
}
