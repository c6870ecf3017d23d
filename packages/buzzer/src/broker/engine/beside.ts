import { BuzzerError } from '../../message/index.ts'
import { type Request, toWireError, writeFailure, writeResult } from '../protocol/index.ts'
import { fileError } from '../storage/broker-file.ts'
import type { FileWork } from '../storage/file-work.ts'
import type { Core } from './core.ts'
import type { Session } from './session.ts'

/** Requests whose work is done beside the engine: they read the whole file, and nobody must wait for that. */
export type BesideRequest = Extract<Request, { call: 'admin'; method: 'backup' | 'check' }>

export function isBeside(request: Request): request is BesideRequest {
  return request.call === 'admin' && (request.method === 'backup' || request.method === 'check')
}

/**
 * Begins the work once the commit of the moment is in the file, so that everything acknowledged before is in it. A request
 * that is asked again after a reconnection joins the work that was begun for it.
 */
export function answerBeside(core: Core, session: Session, requestId: number, request: BesideRequest): void {
  const { path } = core.options
  const work: FileWork =
    request.method === 'check' ? { as: 'check', path } : { as: 'backup', path, toPath: request.toPath }
  core.afterCommit.push(() => {
    begin(core, work).then(
      value => finish(core, () => writeResult(session.out, requestId, value)),
      (error: unknown) => finish(core, () => writeFailure(session.out, requestId, toWireError(named(error, path)))),
    )
  })
}

function begin(core: Core, work: FileWork): Promise<unknown> {
  const key = JSON.stringify(work)
  let running = core.workBeside.get(key)
  if (running === undefined) {
    running = core.options.fileWork(work).finally(() => core.workBeside.delete(key))
    core.workBeside.set(key, running)
  }
  return running
}

/** An answer is written between two commits: one that is rolled back would take it along. */
function finish(core: Core, write: () => void): void {
  core.answersBeside.push(write)
  core.options.onWork()
}

function named(error: unknown, path: string): Error {
  return error instanceof BuzzerError ? error : fileError(error, path)
}
