import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { testConsole } from './console.test-double.ts'
import { describeTarget, targetFile, targetOf } from './target.ts'

describe('which broker a command is about', () => {
  let directory: string
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'buzzer-cli-'))
  })
  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  const at = (environment: Record<string, string> = {}) => testConsole({ directory, environment }).console
  const make = (...names: string[]): void => {
    mkdirSync(join(directory, 'data'))
    for (const name of names) writeFileSync(join(directory, 'data', name), '')
  }

  test('the option wins over the environment, which wins over ./data', () => {
    make('shop.db')
    expect(targetFile({ file: 'a.db' }, at({ BUZZER_TRANSPORT: 'b.db' }))).toBe(join(directory, 'a.db'))
    expect(targetFile({}, at({ BUZZER_TRANSPORT: 'b.db' }))).toBe(join(directory, 'b.db'))
    expect(targetFile({}, at())).toBe(join(directory, 'data', 'shop.db'))
  })

  test('BUZZER_TRANSPORT may say embedded:<path>, postgres:// or rabbitmq://; another scheme is refused by name', () => {
    expect(targetFile({}, at({ BUZZER_TRANSPORT: 'embedded:./x.db' }))).toBe(join(directory, 'x.db'))
    expect(targetOf({}, at({ BUZZER_TRANSPORT: 'postgres://host/db' }))).toEqual({
      as: 'postgres',
      url: 'postgres://host/db',
    })
    expect(targetOf({ transport: 'rabbitmq://host' }, at({ BUZZER_STORE: 'postgresql://host/db' }))).toEqual({
      as: 'rabbitmq',
      url: 'amqp://host',
      store: 'postgresql://host/db',
    })
    expect(
      targetOf({ transport: 'amqps://host', schema: 'shop' }, at({ BUZZER_PREFIX: 'shop.', BUZZER_SCHEMA: 'other' })),
    ).toEqual({ as: 'rabbitmq', url: 'amqps://host', schema: 'shop', prefix: 'shop.' })
    expect(() => targetOf({}, at({ BUZZER_TRANSPORT: 'kafka://host' }))).toThrow(/the transport is `kafka:…`/)
    expect(() => targetOf({ transport: 'amqp://host', store: 'redis://x' }, at())).toThrow(/must be postgres:/)
    expect(() => targetOf({ transport: 'amqp://host', file: 'x.db' }, at())).toThrow(/not both/)
  })

  test('a command that works on a file refuses a server, and tells no password', () => {
    const environment = { BUZZER_TRANSPORT: 'postgres://me:secret@host/db' }
    expect(() => targetFile({}, at(environment))).toThrow(/postgres:\/\/me:…@host\/db\. Give --file/)
    expect(describeTarget(targetOf({}, at(environment)))).toBe('postgres://me:…@host/db')
  })

  test('the files beside a database do not make it two', () => {
    make('shop.db', 'shop.db-wal', 'shop.db-shm', 'shop.db.owner', 'shop.db.reserve')
    expect(targetFile({}, at())).toBe(join(directory, 'data', 'shop.db'))
  })

  test('none, and several, are errors that say what to give', () => {
    expect(() => targetFile({}, at())).toThrow(/there is no \.\/data\/\*\.db here\. Give --file/)
    make('a.db', 'b.db')
    expect(() => targetFile({}, at())).toThrow(/\.\/data has a\.db, b\.db/)
  })
})
