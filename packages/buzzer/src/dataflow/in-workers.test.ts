import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { threadId } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { inWorkers, pipeline, TransformBlock } from './index.ts'

const file = new URL('./in-workers.test.worker.mjs', import.meta.url)

test('runs a module in threads, as a stage of a pipeline, in order', async () => {
  await using square = inWorkers<number, number>(file, { threads: 2 })
  const results = await Array.fromAsync(pipeline.from([1, 2, 3, 4, 5]).map(square, { parallel: 4 }))
  expect(results).toEqual([1, 4, 9, 16, 25])
})

test('`export` names the function, and it runs in another thread', async () => {
  await using whoAmI = inWorkers<null, number>(file, { export: 'whoAmI', threads: 1 })
  expect(await whoAmI(null)).not.toBe(threadId)
})

test('DF-77 a thread is killed: its item fails, onError decides, the others go on', async () => {
  await using square = inWorkers<number | string, number>(file, { threads: 1 })
  const failed: unknown[] = []
  const block = new TransformBlock<number | string, number>(square, {
    parallel: 1,
    onError: (_error, item) => {
      failed.push(item)
      return 'skip'
    },
  })
  for (const item of [1, 'die', 2, 'throw', 3]) block.post(item)
  const done = block.complete()
  expect(await Array.fromAsync(block)).toEqual([1, 4, 9])
  await done
  expect(failed).toEqual(['die', 'throw'])
})

test('DF-77 without onError the error of the thread faults the block', async () => {
  await using square = inWorkers<number | string, number>(file, { threads: 1 })
  const block = new TransformBlock<number | string, number>(square)
  block.post('throw')
  await expect(block.completion).rejects.toThrow('thrown in a thread')
})

test('an aborted signal and a disposed pool turn calls away', async () => {
  const reason = new Error('enough')
  await expect(inWorkers(file, { signal: AbortSignal.abort(reason) })(1)).rejects.toBe(reason)
  const square = inWorkers<number, number>(file, { threads: 1 })
  await square[Symbol.asyncDispose]()
  await expect(square(1)).rejects.toThrow(/disposed/)
  expect(() => inWorkers('./relative.js' as unknown as URL)).toThrow(TypeError)
  expect(() => inWorkers(file, { threads: 0 })).toThrow(RangeError)
})

test('without piscina the call says how to install it', async () => {
  const script = `
    import { registerHooks } from 'node:module'
    registerHooks({
      resolve(specifier, context, next) {
        if (specifier !== 'piscina') return next(specifier, context)
        throw Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' })
      },
    })
    const { inWorkers } = await import(${JSON.stringify(new URL('./in-workers.ts', import.meta.url).href)})
    await inWorkers(new URL('file:///x.js'))(1).catch(error => console.log(error.code, error.message))`
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--conditions=buzzer-source',
    '--input-type=module',
    '-e',
    script,
  ])
  expect(stdout).toMatch(/^BUZZER_UNSUPPORTED .*npm install piscina/)
})
