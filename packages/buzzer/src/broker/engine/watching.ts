import { writeChanged } from '../protocol/index.ts'
import type { Core } from './core.ts'
import type { Session, Watch } from './session.ts'

export function watch(core: Core, session: Session, id: number, collection: string, recordId: string): void {
  unwatch(core, session, id)
  const key = JSON.stringify([collection, recordId])
  const added: Watch = { session, id, key }
  session.watches.set(id, added)
  const watchers = core.watchers.get(key)
  if (watchers === undefined) core.watchers.set(key, new Set([added]))
  else watchers.add(added)
}

export function unwatch(core: Core, session: Session, id: number): void {
  const known = session.watches.get(id)
  if (known === undefined) return
  session.watches.delete(id)
  const watchers = core.watchers.get(known.key)
  watchers?.delete(known)
  if (watchers?.size === 0) core.watchers.delete(known.key)
}

export function unwatchAll(core: Core, session: Session): void {
  for (const id of session.watches.keys()) unwatch(core, session, id)
}

/** Tells who watches what this commit has changed. */
export function announceChanges(core: Core): void {
  if (core.changedRecords.size === 0) return
  for (const key of core.changedRecords) {
    for (const { session, id } of core.watchers.get(key) ?? []) session.changed.add(id)
  }
  core.changedRecords.clear()
  for (const session of core.sessions.values()) {
    if (session.changed.size === 0) continue
    writeChanged(session.out, session.changed)
    session.changed.clear()
  }
}
