import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { checkPathOption, networkFileSystem, networkFuseFileSystem, prepareBrokerPath } from './broker-path.ts'
import { prepareSocketAddress, socketAddress } from './socket-address.ts'

let folder: string
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'buzzer-path-')))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const invalid: unknown = expect.objectContaining({ code: 'BUZZER_INVALID_OPTION' })

describe('the path of a broker', () => {
  it('is refused when it is empty, for memory, or a folder', () => {
    for (const path of ['', '  ', ':memory:', 'file:x', folder, './not-yet/', undefined, 7, 'a\0b']) {
      expect(() => checkPathOption(path)).toThrowError(invalid)
    }
    expect(checkPathOption(join(folder, 'shop.db'))).toBe(join(folder, 'shop.db'))
  })

  it('is absolute once it was given, so that a later chdir does not move the broker', () => {
    expect(checkPathOption('data/shop.db')).toBe(join(process.cwd(), 'data/shop.db'))
  })

  it('takes spaces and any script in its name, and refuses one that leaves no room for the files beside it', () => {
    for (const name of ['my shop.db', 'σχ-магазин-店-🛍.db', "it's 100% #1?.db"]) {
      expect(prepareBrokerPath(join(folder, name)).file).toBe(join(folder, name))
    }
    expect(checkPathOption(join(folder, 'n'.repeat(247)))).toContain('nnn')
    expect(() => checkPathOption(join(folder, 'n'.repeat(248)))).toThrowError(invalid)
    expect(() => checkPathOption(join(folder, '店'.repeat(83)))).toThrowError(invalid)
  })

  it('has its missing folders made', () => {
    const { file } = prepareBrokerPath(join(folder, 'a/b/shop.db'))
    expect(file).toBe(join(folder, 'a/b/shop.db'))
    expect(statSync(join(folder, 'a/b')).isDirectory()).toBe(true)
    expect(existsSync(file)).toBe(false)
  })

  it('is one and the same however it is spelled', () => {
    mkdirSync(join(folder, 'real'))
    symlinkSync(join(folder, 'real'), join(folder, 'link'))
    const plain = prepareBrokerPath(join(folder, 'real/shop.db'))
    expect(prepareBrokerPath(join(folder, 'link/../link/shop.db'))).toEqual(plain)
    writeFileSync(plain.file, '')
    symlinkSync(plain.file, join(folder, 'other.db'))
    expect(prepareBrokerPath(join(folder, 'other.db'))).toEqual(plain)
  })

  it('of a link to a file that is still to be made is that file', () => {
    mkdirSync(join(folder, 'disk'))
    symlinkSync('disk/shop.db', join(folder, 'shop.db'))
    symlinkSync(join(folder, 'shop.db'), join(folder, 'again.db'))
    const before = prepareBrokerPath(join(folder, 'again.db'))
    expect(before.file).toBe(join(folder, 'disk/shop.db'))
    writeFileSync(before.file, '')
    expect(prepareBrokerPath(join(folder, 'again.db'))).toEqual(before)
    symlinkSync(join(folder, 'circle'), join(folder, 'circle'))
    expect(() => prepareBrokerPath(join(folder, 'circle'))).toThrowError(invalid)
  })

  it('of a file with two names is refused, and of what is no plain file', () => {
    const file = join(folder, 'shop.db')
    writeFileSync(file, '')
    linkSync(file, join(folder, 'second.db'))
    expect(() => prepareBrokerPath(file)).toThrowError(/2 names/)
    rmSync(join(folder, 'second.db'))
    expect(prepareBrokerPath(file).file).toBe(file)
    expect(() => prepareBrokerPath('/dev/null')).toThrowError(invalid)
  })

  it('B85 is refused where nothing can be written, and on network file systems', () => {
    expect(() => prepareBrokerPath('/proc/buzzer/shop.db')).toThrowError(invalid)
    writeFileSync(join(folder, 'plain'), '')
    expect(() => prepareBrokerPath(join(folder, 'plain/shop.db'))).toThrowError(invalid)
    expect(networkFileSystem(0x6969)).toBe('NFS')
    // As a signed number, as some systems report it.
    expect(networkFileSystem(0xff534d42 | 0)).toBe('CIFS')
    expect(networkFileSystem(0xef53)).toBeUndefined()
    const mounts = [
      '/dev/sda1 / ext4 rw 0 0',
      'host:/x /mnt/my\\040disk fuse.sshfs rw 0 0',
      '/dev/sdb1 /mnt/my\\040disk/local fuse.ntfs-3g rw 0 0',
    ].join('\n')
    expect(networkFuseFileSystem(mounts, '/mnt/my disk/data')).toBe('fuse.sshfs')
    expect(networkFuseFileSystem(mounts, '/mnt/my disk/local')).toBeUndefined()
    expect(networkFuseFileSystem(mounts, '/mnt/my disks')).toBeUndefined()
  })
})

describe('the address of the socket', () => {
  it('lies in a folder beside the file that only its user may enter', () => {
    const address = socketAddress(prepareBrokerPath(join(folder, 'shop.db')))
    expect(address).toBe(join(folder, 'shop.db.socket/s'))
    mkdirSync(join(folder, 'shop.db.socket'), { mode: 0o755 })
    writeFileSync(address, 'stale')
    prepareSocketAddress(address)
    expect(statSync(join(folder, 'shop.db.socket')).mode & 0o777).toBe(0o700)
    expect(existsSync(address)).toBe(false)
  })

  it('B84 moves to the temporary folder when the path is 300 characters deep', () => {
    const deep = join(folder, 'd'.repeat(100), 'e'.repeat(100), 'f'.repeat(100), 'shop.db')
    const path = prepareBrokerPath(deep)
    const address = socketAddress(path)
    expect(Buffer.byteLength(address)).toBeLessThanOrEqual(107)
    expect(address).toContain(path.digest)
  })

  it('is as long as each system takes, and a named pipe on Windows', () => {
    const at = (bytes: number): { file: string; ownerFile: string; digest: string } => {
      const file = `/${'d'.repeat(bytes - '/.socket/s'.length)}`
      return { file, ownerFile: `${file}.owner`, digest: '0123456789abcdef' }
    }
    const place = { user: 7, temporaryFolder: '/var/tmp' }
    const beside = (bytes: number, platform: NodeJS.Platform): boolean =>
      socketAddress(at(bytes), { ...place, platform }).startsWith('/d')
    expect([beside(107, 'linux'), beside(108, 'linux')]).toEqual([true, false])
    expect([beside(103, 'darwin'), beside(104, 'darwin')]).toEqual([true, false])
    expect(socketAddress(at(200), { ...place, platform: 'linux' })).toBe('/var/tmp/buzzer-7-0123456789abcdef/s')
    const deep = { ...place, temporaryFolder: `/${'t'.repeat(100)}`, platform: 'darwin' } as const
    expect(socketAddress(at(200), deep)).toBe('/tmp/buzzer-7-0123456789abcdef/s')
    // No part of the path is in it: pipes have one name space, and names of 256 characters.
    expect(socketAddress(at(9_000), { ...place, platform: 'win32' })).toBe('\\\\.\\pipe\\buzzer-0123456789abcdef')
  })

  it('is refused when somebody else was there first', () => {
    writeFileSync(join(folder, 'shop.db.socket'), '')
    expect(() => prepareSocketAddress(join(folder, 'shop.db.socket/s'))).toThrowError(invalid)
  })
})
