import { expect, it } from 'vitest'
import { threadArguments } from './thread-entry.ts'

it('a thread is started with the flags of a profiler, their values too, and with no others', () => {
  const given = ['--conditions=x', '--cpu-prof', '--cpu-prof-dir', './out', '--cpu-prof-interval=200', '--no-warnings']
  expect(threadArguments(given).slice(1)).toEqual(['--cpu-prof', '--cpu-prof-dir', './out', '--cpu-prof-interval=200'])
  expect(threadArguments(['--import', './preload.js']).slice(1)).toEqual([])
})
