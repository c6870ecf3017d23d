import type { Core } from './core.ts'
import type { EngineStats } from './engine.ts'

export function engineStats(core: Core): EngineStats {
  const { counters, options, file } = core
  return {
    epoch: file.epoch,
    ownerPid: options.ownerPid,
    commits: counters.commits,
    commitMs: counters.commitMs,
    messagesSent: counters.sent,
    messagesDelivered: counters.delivered,
    settled: counters.settled,
    sessions: core.sessions.size,
    locksLost: counters.locksLost,
    damaged: counters.damaged,
    expired: counters.expired,
    clockJumps: counters.clockJumps,
    takeovers: file.takeovers,
    largestBatch: counters.largestBatch,
    pendingBytes: core.pendingBytes,
    walBytes: file.walBytes(),
    freeBytes: file.freeBytes(),
    liveBytes: core.liveBytes,
    durability: options.durability,
  }
}
