/** A promise made only when somebody asks for it, always the same one, that never raises an unhandled rejection. */
export class Completion {
  #deferred: PromiseWithResolvers<void> | undefined = undefined
  #settled = false
  #error: unknown = undefined

  get settled(): boolean {
    return this.#settled
  }

  get promise(): Promise<void> {
    if (this.#deferred === undefined) {
      this.#deferred = Promise.withResolvers<void>()
      this.#deferred.promise.catch(() => {})
      if (this.#settled) this.#tell(this.#deferred)
    }
    return this.#deferred.promise
  }

  /** `undefined`: all went well. The first call counts. */
  settle(error: unknown): void {
    if (this.#settled) return
    this.#settled = true
    this.#error = error
    if (this.#deferred !== undefined) this.#tell(this.#deferred)
  }

  #tell(deferred: PromiseWithResolvers<void>): void {
    if (this.#error === undefined) deferred.resolve()
    else deferred.reject(this.#error)
  }
}
