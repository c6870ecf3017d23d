import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type EmbeddedOptions, resolveOptions } from './options.ts'

const path = './data/shop.db'

function refused(options: object): unknown {
  try {
    resolveOptions(options as EmbeddedOptions)
  } catch (error) {
    return error
  }
  return undefined
}

describe('options of embedded()', () => {
  it('have the defaults of the specification', () => {
    expect(resolveOptions({ path })).toEqual({
      path: resolve(path),
      durability: 'fsync',
      host: 'auto',
      connectTimeoutMs: 10_000,
      lockMs: 30_000,
      stallMs: 300_000,
      reclaimMs: 2_000,
      maxMessageBytes: 1_048_576,
      maxFileBytes: 10_737_418_240,
      maxPendingBytes: 67_108_864,
      onTopologyConflict: 'refuse',
    })
    expect(resolveOptions({ path, lockMs: 500, host: 'never' })).toMatchObject({ lockMs: 500, host: 'never' })
  })

  it.each([
    [{}, 'path'],
    [{ path: '' }, 'path'],
    [{ path: ':memory:' }, 'path'],
    [{ path: '/' }, 'path'],
    [{ path, durability: 'maybe' }, 'durability'],
    [{ path, host: true }, 'host'],
    [{ path, lockMs: 0 }, 'lockMs'],
    [{ path, lockMs: '30s' }, 'lockMs'],
    [{ path, stallMs: 1.5 }, 'stallMs'],
    [{ path, connectTimeoutMs: Infinity }, 'connectTimeoutMs'],
    [{ path, maxMessageBytes: 64 * 1024 * 1024 + 1 }, 'maxMessageBytes'],
    [{ path, onTopologyConflict: 'ignore' }, 'onTopologyConflict'],
    [{ path, lockTimeout: 5 }, 'lockTimeout'],
  ])('refuse %j, naming %s and its value', (options, option) => {
    expect(refused(options)).toMatchObject({
      code: 'BUZZER_INVALID_OPTION',
      details: { option, value: (options as Record<string, unknown>)[option] },
    })
  })
})
