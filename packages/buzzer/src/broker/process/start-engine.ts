import { type LogFields, systemClock } from '../../message/index.ts'
import { type Engine, openEngine } from '../engine/index.ts'
import type { EngineOptions } from './broker-thread.ts'
import { FileThread } from './file-thread.ts'
import type { FromBrokerThread } from './messages.ts'

/** Opens the engine and drives it: all that arrives in one turn of this thread's loop shares one commit. */
export function startEngine(
  file: string,
  options: EngineOptions & { readonly returnMs?: number },
  tell: (message: FromBrokerThread) => void,
  onFailed: (error: unknown) => void,
): Engine {
  let scheduled = false
  const pump = (): void => {
    scheduled = false
    engine.pump()
  }
  const fileThread = new FileThread()
  const { durability, lockMs, reclaimMs, returnMs, maxFileBytes, maxMessageBytes } = options
  const engine = openEngine({
    path: file,
    durability,
    ownerPid: process.pid,
    lockMs,
    reclaimMs,
    ...(returnMs === undefined ? {} : { returnMs }),
    maxFileBytes,
    maxMessageBytes,
    fileWork: work => fileThread.do(work),
    clock: systemClock,
    onWork: () => {
      if (scheduled) return
      scheduled = true
      setImmediate(pump)
    },
    report: (level, fields, message) => tell({ as: 'log', level, fields: cloneable(fields), message }),
    onFailed,
  })
  return engine
}

/** Fields of a log line cross to the user's thread: errors do, what cannot be cloned is told as text. */
function cloneable(fields: LogFields): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name,
      typeof value === 'function' || typeof value === 'symbol' ? String(value) : value,
    ]),
  )
}
