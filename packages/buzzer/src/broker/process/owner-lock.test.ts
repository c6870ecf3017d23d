import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { OwnerLock } from './owner-lock.ts'

let folder: string
let path: string
const locks: OwnerLock[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'buzzer-lock-'))
  path = join(folder, 'shop.db.owner')
})

afterEach(() => {
  for (const lock of locks.splice(0)) lock.release()
  rmSync(folder, { recursive: true })
})

function lock(): OwnerLock {
  const made = new OwnerLock(path)
  locks.push(made)
  return made
}

const record = (token: string): { token: string; pid: number; address: string } => ({
  token,
  pid: 7,
  address: `/run/${token}`,
})

describe('the owner lock', () => {
  it('has one holder, and the others read who it is', () => {
    const first = lock()
    const second = lock()
    expect(first.tryTake(record('a'))).toBe(true)
    expect(second.tryTake(record('b'))).toBe(false)
    expect({ ...second.read() }).toEqual(record('a'))
    expect(first.held).toBe(true)
    expect(second.held).toBe(false)
  })

  it('goes to the next one when it is released', () => {
    const first = lock()
    const second = lock()
    first.tryTake(record('a'))
    first.release()
    expect(second.tryTake(record('b'))).toBe(true)
    expect({ ...first.read() }).toEqual(record('b'))
    expect(first.tryTake(record('c'))).toBe(false)
  })

  it('B80 a file of another tool, or half a write, in its place is emptied and used', () => {
    writeFileSync(path, 'pid 4711\n'.repeat(200))
    expect(lock().tryTake(record('a'))).toBe(true)
    expect(lock().tryTake(record('b'))).toBe(false)
  })

  it('falls with its process, killed in whatever way, and not before', async () => {
    const child = fork(new URL('../../../test/broker/lock-holder.ts', import.meta.url), [path], {
      execArgv: ['--conditions=buzzer-source'],
    })
    const [taken] = (await once(child, 'message')) as [boolean]
    expect(taken).toBe(true)
    const here = lock()
    expect(here.tryTake(record('b'))).toBe(false)
    // A reader of the file in another process changes nothing.
    readFileSync(path)
    expect(here.tryTake(record('b'))).toBe(false)
    const exit = once(child, 'exit')
    child.kill('SIGKILL')
    await exit
    expect(here.tryTake(record('b'))).toBe(true)
  })

  it('is kept over a stop of its process', async () => {
    const child = fork(new URL('../../../test/broker/lock-holder.ts', import.meta.url), [path], {
      execArgv: ['--conditions=buzzer-source'],
    })
    await once(child, 'message')
    child.kill('SIGSTOP')
    expect(lock().tryTake(record('b'))).toBe(false)
    const exit = once(child, 'exit')
    child.kill('SIGKILL')
    await exit
  })

  it('cannot be had where nothing can be written, and says so', () => {
    const nowhere = new OwnerLock(join(folder, 'missing', 'x.owner'))
    expect(() => nowhere.tryTake(record('a'))).toThrowError(expect.objectContaining({ code: 'BUZZER_INVALID_OPTION' }))
  })
})
