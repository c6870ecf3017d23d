// A suite of contenders that do nothing but what runner.test.ts looks at. Run like any other, each in a process of its own.
import { type Contender, type Suite, type Trial, Unavailable } from './suite.ts'

function contender(name: string, trial: (server: () => { url: string }) => Trial): Contender {
  return { name, side: 'ours', setup: async context => trial(() => context.server('kafka')) }
}

const idle = { run: async () => undefined, teardown: async () => undefined }

export const suite: Suite = {
  title: 'Of the runner',
  cases: [
    {
      name: 'with a server',
      operation: 'nothing',
      measure: 'figures',
      operations: 7,
      servers: {
        kafka: async () => ({ url: 'here:1', version: '1', [Symbol.asyncDispose]: () => Promise.resolve() }),
      },
      contenders: [
        contender('counts', server => {
          let runs = 0
          return {
            ...idle,
            facts: () => ({ server: server().url, rounds: String(runs) }),
            run: async n => ({ runs: ++runs, operations: n }),
          }
        }),
        contender('leaves a message over', () => ({
          ...idle,
          teardown: () => Promise.reject(new Error('1 message is left')),
        })),
        contender('fails in its second round', () => {
          let runs = 0
          return {
            ...idle,
            run: async () => {
              if (++runs === 2) throw new Error('lost')
            },
          }
        }),
        contender('dies', () => ({ ...idle, run: async () => process.exit(3) })),
      ],
    },
    {
      name: 'without its server',
      operation: 'nothing',
      measure: 'latency',
      operations: 2,
      servers: { kafka: () => Promise.reject(new Unavailable('no java on this machine')) },
      contenders: [
        contender('needs it', server => ({ ...idle, facts: { url: server().url } })),
        contender('does without', () => ({ ...idle, run: async n => Array.from({ length: n }, (_, i) => i) })),
      ],
    },
  ],
}
