import { fork } from 'node:child_process'
import { once } from 'node:events'
import type { Contender, Figures } from '../../suite.ts'
import { type BacklogKind, backlogFile } from './backlog-file.ts'

/** A broker is started on a file with a backlog, in a fresh process each round, and looked at. See start-process.ts. */
export function startWith(kind: BacklogKind): Contender {
  return {
    name: kind,
    side: 'ours',
    durability: 'power loss',
    async setup({ folder, sharedFolder }) {
      const path = await backlogFile(kind, folder, sharedFolder)
      return {
        async run() {
          const child = fork(new URL('./start-process.ts', import.meta.url), [kind, path], {
            serialization: 'advanced',
          })
          const exited = once(child, 'exit')
          const answered = once(child, 'message')
          const figures = await Promise.race([
            answered.then(([message]) => message as Figures),
            exited.then(([code]) => Promise.reject(new Error(`the process of the broker ended with ${code}`))),
          ])
          await exited
          return figures
        },
        async teardown() {},
      }
    },
  }
}
