import type { Piscina } from 'piscina'
import { WorkerPoolMissingError } from './errors.ts'
import { checkInteger } from './options.ts'

export interface WorkersOptions {
  /** The export to call. Default: the default export. */
  export?: string
  /** Threads at most. Integer ≥ 1. Default: piscina's, which follows the number of cores. */
  threads?: number
  /** Aborts what runs and what waits in the pool. */
  signal?: AbortSignal
}

/**
 * Makes a function that runs `file`'s export in a pool of worker threads, for stages bound by the processor:
 * `map(inWorkers<In, Out>(new URL('./resize.js', import.meta.url)), { parallel: 8 })`. Items and results are cloned
 * between threads. Loads `piscina`, an optional peer dependency, at the first call; when it is missing the call rejects
 * with `BUZZER_UNSUPPORTED` and says how to install it. A thread that dies fails the items it had. Dispose it to end the
 * threads; an idle pool does not keep the process alive. Source: spec dataflow 2.5.
 */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the types are the caller's word for the module
export function inWorkers<I, O>(file: URL, options: WorkersOptions = {}): ((item: I) => Promise<O>) & AsyncDisposable {
  if (!(file instanceof URL)) throw new TypeError('inWorkers needs the URL of a module: new URL(…, import.meta.url)')
  if (options.threads !== undefined) checkInteger('threads', options.threads)
  let pool: Promise<Piscina> | undefined
  let closed = false
  const run = async (item: I): Promise<O> => {
    options.signal?.throwIfAborted()
    if (closed) throw new TypeError(`the workers of ${file.href} have been disposed`)
    pool ??= openPool(file, options)
    return (await pool).run(item, {
      ...(options.export === undefined ? {} : { name: options.export }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    }) as Promise<O>
  }
  return Object.assign(run, {
    async [Symbol.asyncDispose](): Promise<void> {
      closed = true
      await pool?.then(
        opened => opened.destroy(),
        () => {},
      )
    },
  })
}

async function openPool(file: URL, options: WorkersOptions): Promise<Piscina> {
  const { Piscina } = await import('piscina').catch((error: unknown) => {
    throw (error as { code?: unknown }).code === 'ERR_MODULE_NOT_FOUND' ? new WorkerPoolMissingError(error) : error
  })
  return new Piscina({
    filename: file.href,
    ...(options.threads === undefined ? {} : { minThreads: 1, maxThreads: options.threads }),
  })
}
