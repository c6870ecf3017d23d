/** The broker thread: what runs in it from its first line. Source: spec broker 7. */
import { parentPort, workerData } from 'node:worker_threads'
import { systemClock } from '../../message/index.ts'
import { ByteWriter, writeBeat, writeForfeit } from '../protocol/index.ts'
import type { BrokerThreadData } from './broker-thread.ts'
import { Carrier } from './carrier.ts'
import { LoopWatch } from './loop-watch.ts'
import type { FromBrokerThread, ToBrokerThread } from './messages.ts'
import { beat, noteStop, silentMs } from './pulse.ts'
import { startEngine } from './start-engine.ts'

/** A blocked loop is told of once, after so long. */
const warnMs = 15_000

if (parentPort === null) throw new Error('this file is the broker thread of buzzer; it is not run by itself')
const port = parentPort
const { path, pulse, engine: options } = workerData as BrokerThreadData
const tell = (message: FromBrokerThread): void => port.postMessage(message)
const writer = new ByteWriter(64)

const carrier = new Carrier({
  path,
  clock: systemClock,
  openEngine: (file, onFailed) => startEngine(file, options, tell, onFailed),
  tell,
  onLockMs: ownerLockMs => beatFaster(ownerLockMs),
  onEmpty: () => {
    watch.close()
    clearInterval(beats)
    port.close()
  },
})

/** The shortest term that any engine gave a session of this process. */
let lockMs = options.lockMs
let beats = setInterval(beatAll, beatEveryMs(lockMs))

/** Often enough for the lock, and often enough that a stopped owner is soon found out: it answers each. */
function beatEveryMs(lockMs: number): number {
  return Math.min(2_000, Math.max(10, lockMs / 5))
}

function beatAll(): void {
  // Stopped (SIGSTOP, a frozen container) for longer than locks last: told before the beat, so that nobody misses it.
  if (silentMs(pulse) > lockMs && carrier.stoodStill()) noteStop(pulse)
  beat(pulse)
  carrier.inject(() => {
    writeBeat(writer, 0)
    return writer.take()
  })
}

function beatFaster(ownerLockMs: number): void {
  if (ownerLockMs >= lockMs) return
  lockMs = ownerLockMs
  clearInterval(beats)
  beats = setInterval(beatAll, beatEveryMs(lockMs))
  beatAll()
}

const watch = new LoopWatch({
  clock: systemClock,
  everyMs: Math.min(beatEveryMs(options.lockMs), options.stallMs / 4),
  warnMs,
  stallMs: options.stallMs,
  ask: () => tell({ as: 'ping' }),
  onBlocked: blockedMs =>
    tell({
      as: 'log',
      level: 'warn',
      fields: { path, blockedMs: Math.round(blockedMs), stallMs: options.stallMs },
      message: `the event loop of this process is blocked; after ${options.stallMs} ms its messages go to others`,
    }),
  onStalled: () => {
    noteStop(pulse)
    carrier.stall(() => {
      writeForfeit(writer)
      return writer.take()
    })
  },
  onResumed: blockedMs => {
    carrier.resume()
    tell({
      as: 'log',
      level: 'warn',
      fields: { path, blockedMs: Math.round(blockedMs) },
      message: 'the event loop of this process turns again',
    })
  },
})

port.on('message', (message: ToBrokerThread) => {
  if (message.as === 'attach') carrier.attach(message.port, message.mayHost)
  else watch.answer()
})
