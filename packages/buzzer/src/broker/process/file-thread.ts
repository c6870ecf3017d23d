import { Worker } from 'node:worker_threads'
import type { FileWork } from '../storage/file-work.ts'
import { fromWireError, type WireError } from '../protocol/index.ts'
import { threadArguments, threadEntry } from './thread-entry.ts'

/** What the thread answers with. */
export type FileWorkAnswer = { readonly value: unknown } | { readonly error: WireError }

/**
 * Does work on the file in threads of their own, one after the other: two would only fight for the disk. A thread lives
 * for one piece of work.
 */
export class FileThread {
  #last: Promise<unknown> = Promise.resolve()

  /** Resolves with the work's value; rejects with its error. */
  do(work: FileWork): Promise<unknown> {
    const before = this.#last
    const done = (async () => {
      await before
      return await inThread(work)
    })()
    this.#last = done.catch(() => {})
    return done
  }
}

function inThread(work: FileWork): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(threadEntry('file-work-main'), {
      workerData: work,
      name: 'buzzer file work',
      execArgv: threadArguments(),
    })
    worker.on('message', (answer: FileWorkAnswer) => {
      if ('error' in answer) reject(fromWireError(answer.error))
      else resolve(answer.value)
    })
    worker.on('error', reject)
    worker.on('exit', code => reject(new Error(`the thread for work on the file ended with ${code} and no answer`)))
    // The work is somebody's pending request; it does not hold the process by itself.
    worker.unref()
  })
}
