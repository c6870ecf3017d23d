import { isMainThread } from 'node:worker_threads'

/**
 * A sleep in shared memory does not keep a thread alive, and a worker that waits for its next message would simply end.
 * Held while somebody waits, and only in workers: the main thread is kept by its workers.
 */
export class KeepAlive {
  #timer: NodeJS.Timeout | undefined = undefined

  hold(): void {
    if (!isMainThread) this.#timer ??= setTimeout(() => {}, 2 ** 31 - 1)
  }

  release(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
