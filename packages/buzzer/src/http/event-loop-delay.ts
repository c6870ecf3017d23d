import { monitorEventLoopDelay } from 'node:perf_hooks'

type IntervalHistogram = ReturnType<typeof monitorEventLoopDelay>

const resolutionMs = 10
const windowMs = 500

/**
 * The longest delay of this process's event loop in the last second or so. Real time on purpose, whatever clock the bus
 * has: it measures this process, not the work.
 */
export class EventLoopDelay {
  #histogram: IntervalHistogram | undefined
  #timer: NodeJS.Timeout | undefined
  #lastWindowMs = 0

  start(): void {
    if (this.#histogram !== undefined) return
    const histogram = monitorEventLoopDelay({ resolution: resolutionMs })
    histogram.enable()
    this.#histogram = histogram
    this.#timer = setInterval(() => {
      this.#lastWindowMs = read(histogram)
      histogram.reset()
    }, windowMs)
    this.#timer.unref()
  }

  /** Milliseconds; `undefined` before `start`. */
  get ms(): number | undefined {
    return this.#histogram === undefined ? undefined : Math.max(this.#lastWindowMs, read(this.#histogram))
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#histogram?.disable()
    this.#histogram = undefined
  }
}

function read(histogram: IntervalHistogram): number {
  return histogram.count === 0 ? 0 : Math.max(0, histogram.max / 1e6 - resolutionMs)
}
