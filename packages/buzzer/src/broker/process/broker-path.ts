import { createHash } from 'node:crypto'
import {
  accessSync,
  constants,
  lstatSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  type Stats,
  statfsSync,
  statSync,
} from 'node:fs'
import { basename, dirname, join, resolve, sep } from 'node:path'
import { BuzzerError } from '../../message/index.ts'
import { isFolder, makeFolder } from '../storage/folder.ts'

/** Where everything of one broker lies. Two spellings of one file give equal values. */
export interface BrokerPath {
  /** The database, absolute, with symbolic links resolved, one to a file that is still to be made too. */
  readonly file: string
  /** The file whose lock makes its holder the owner. Nobody but `OwnerLock` may open it: see there. */
  readonly ownerFile: string
  /** Short and stable name of the file, for addresses. */
  readonly digest: string
}

/** Most bytes of a file's name on all file systems that matter, and what is put behind the broker's. */
const longestNameBytes = 255
const longestSuffix = '.reserve'

/**
 * The path as given, absolute from now on: a later `chdir` does not move the broker. Checks what can be told from the
 * words alone, and that the path is not a folder.
 * @throws BUZZER_INVALID_OPTION
 */
export function checkPathOption(path: unknown): string {
  if (typeof path !== 'string' || path.trim() === '') {
    throw invalidPath(path, 'it must name a file, for example "./data/shop.db"')
  }
  if (path === ':memory:' || path.startsWith('file:')) {
    throw invalidPath(path, 'the embedded broker keeps a file; for memory alone use memory() from "buzzer/memory"')
  }
  if (path.includes('\0')) throw invalidPath(path, 'it contains a zero byte')
  if (isFolder(path) || path.endsWith('/') || path.endsWith(sep)) throw invalidPath(path, aFolder)
  const nameBytes = Buffer.byteLength(basename(path)) + longestSuffix.length
  if (nameBytes > longestNameBytes) {
    throw invalidPath(
      path,
      `with "${longestSuffix}" behind it the name has ${nameBytes} bytes, at most ${longestNameBytes}`,
    )
  }
  return resolve(path)
}

const aFolder = 'it is a folder; name a file in it, for example "shop.db"'

/** Makes missing folders and resolves the path. @throws BUZZER_INVALID_OPTION when the place cannot hold a broker. */
export function prepareBrokerPath(path: string): BrokerPath {
  const absolute = followLinks(resolve(path))
  const folder = dirname(absolute)
  try {
    makeFolder(folder)
  } catch (error) {
    throw invalidPath(path, `its folder ${folder} cannot be made (${codeOf(error)})`, error)
  }
  let found: Stats | undefined
  try {
    found = statSync(absolute, { throwIfNoEntry: false })
  } catch (error) {
    throw notWritable(path, error)
  }
  if (found !== undefined) checkKind(path, found)
  const user = process.geteuid?.()
  if (found !== undefined && user !== undefined && found.uid !== user) {
    throw invalidPath(
      path,
      `the file belongs to user ${found.uid} and this process runs as user ${user}; all processes of one broker run as one user`,
    )
  }
  refuseNetworkFileSystem(path, folder)
  try {
    accessSync(folder, constants.W_OK | constants.X_OK)
    if (found !== undefined) accessSync(absolute, constants.R_OK | constants.W_OK)
  } catch (error) {
    throw notWritable(path, error)
  }
  return locate(absolute, found === undefined)
}

/**
 * The file that the last part of the path names in the end. `realpath` cannot tell it while the file does not exist, and
 * SQLite would make it, and its write-ahead file, where the link points to.
 */
function followLinks(absolute: string): string {
  let path = absolute
  for (let hops = 0; hops < 40; hops++) {
    if (!isLink(path)) return path
    path = resolve(dirname(path), readlinkSync(path))
  }
  throw invalidPath(absolute, 'its symbolic links lead in a circle')
}

function checkKind(path: string, found: Stats): void {
  if (found.isDirectory()) throw invalidPath(path, aFolder)
  if (!found.isFile()) throw invalidPath(path, 'it is a device, pipe or socket; name a plain file')
  if (found.nlink < 2) return
  // Two names would have two owners and two write-ahead files for one database: that destroys it.
  throw invalidPath(
    path,
    `the file has ${found.nlink} names (hard links), and SQLite finds its write-ahead file by name; remove the others, or use a copy`,
  )
}

/** One sentence for a place that cannot be written. */
export function notWritable(path: string, cause: unknown): BuzzerError {
  return invalidPath(path, `the file or its folder cannot be written (${codeOf(cause)})`, cause)
}

/** False too where nothing can be seen. */
function isLink(path: string): boolean {
  try {
    return lstatSync(path).isSymbolicLink()
  } catch {
    return false
  }
}

function locate(absolute: string, isNew: boolean): BrokerPath {
  const file = isNew ? join(realpathSync(dirname(absolute)), basename(absolute)) : realpathSync(absolute)
  const digest = createHash('sha256').update(file).digest('hex').slice(0, 16)
  return { file, ownerFile: `${file}.owner`, digest }
}

/** Types of `statfs(2)` whose locks or shared memory do not reach other machines' processes. Source: linux/magic.h. */
const networkFileSystems: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
  [0x01021997, '9P'],
  [0x5346414f, 'AFS'],
  [0x6b414653, 'AFS'],
  [0x00c36400, 'Ceph'],
  [0x564c, 'NCP'],
  [0x73757245, 'Coda'],
  [0x0bd00bd0, 'Lustre'],
  [0x47504653, 'GPFS'],
  [0x19830326, 'BeeGFS'],
  [0x7461636f, 'OCFS2'],
  [0x01161970, 'GFS2'],
  [0x20030528, 'OrangeFS'],
  [0x786f4256, 'vboxsf'],
])

const fuseType = 0x65735546
/** Programs behind FUSE whose files lie elsewhere. */
const networkFuse =
  /^fuse\.(sshfs|glusterfs|s3fs|rclone|gcsfuse|blobfuse2?|goofys|ceph-fuse|mfs|davfs2?|smbnetfs|juicefs)$/

/** The network file system's name, or `undefined` for a local one. `statfs` reports 32 bits, on some systems as a negative number. */
export function networkFileSystem(statfsType: number): string | undefined {
  return networkFileSystems.get(statfsType >>> 0)
}

/** The same for a file system in user space, whose `statfs` type does not tell: `mounts` is the text of `/proc/mounts`. */
export function networkFuseFileSystem(mounts: string, folder: string): string | undefined {
  let nearest = ''
  let found: string | undefined
  for (const line of mounts.split('\n')) {
    const [, at = '', kind = ''] = line.split(' ')
    const point = at.replaceAll(/\\(\d{3})/g, (_, octal: string) => String.fromCodePoint(Number.parseInt(octal, 8)))
    const holds = folder === point || folder.startsWith(point === '/' ? '/' : `${point}/`)
    if (!holds || point.length < nearest.length) continue
    nearest = point
    found = networkFuse.test(kind) ? kind : undefined
  }
  return found
}

function refuseNetworkFileSystem(path: string, folder: string): void {
  if (process.platform !== 'linux') return
  const { type } = statfsSync(folder)
  const name =
    type === fuseType
      ? networkFuseFileSystem(readFileSync('/proc/mounts', 'utf8'), realpathSync(folder))
      : networkFileSystem(type)
  if (name === undefined) return
  throw invalidPath(
    path,
    `${folder} lies on a network file system (${name}), where SQLite's locks and shared memory do not work; use a local disk`,
  )
}

function invalidPath(path: unknown, why: string, cause?: unknown): BuzzerError {
  return new BuzzerError('BUZZER_INVALID_OPTION', `path ${JSON.stringify(path)} cannot hold a broker: ${why}`, {
    details: { option: 'path', value: path },
    ...(cause === undefined ? {} : { cause }),
  })
}

function codeOf(error: unknown): string {
  return (error as { code?: string } | undefined)?.code ?? String(error)
}
