import { fork } from 'node:child_process'
import { once } from 'node:events'
import { createBus } from 'buzzer'
import { Flow } from '../flow.ts'
import type { Reading } from '../reading.ts'
import type { Contender } from '../suite.ts'
import { type BuzzerOptions, ReadingTaken, stopEmpty } from './buzzer.ts'
import { durabilityOf, openTransport } from './transports.ts'

/** What a consumer's process tells the publisher's: so many readings handled, and the sum of their sequences. */
export interface Handled {
  readonly count: number
  readonly sum: number
}

export interface ProcessesOptions extends Pick<BuzzerOptions, 'name' | 'inFlight' | 'concurrency' | 'prefetch'> {
  readonly consumers: number
}

/** The publisher, which hosts the engine, in this process; all handlers in others, each with the given prefetch. */
export function buzzerProcesses(options: ProcessesOptions): Contender {
  const { inFlight, concurrency, prefetch, consumers } = options
  return {
    name: options.name ?? 'embedded, two processes',
    side: 'ours',
    durability: durabilityOf.embedded,
    async setup(context) {
      const { transport } = await openTransport('embedded', context)
      const bus = createBus({ name: 'bench', transport })
      const flow = new Flow({ inFlight, publish: ([message]) => bus.publish(ReadingTaken, message as Reading) })
      await bus.start()
      let stopping = false
      const children = await Promise.all(
        Array.from({ length: consumers }, async () => {
          const child = fork(
            new URL('./consumer-process.ts', import.meta.url),
            [context.folder, String(concurrency), String(prefetch)],
            { serialization: 'advanced' },
          )
          await once(child, 'message')
          child.on('message', ({ count, sum }: Handled) => flow.handledMany(count, sum))
          child.once('exit', code => {
            if (!stopping) flow.fail(new Error(`a consumer's process ended with ${code}`))
          })
          return child
        }),
      )
      return {
        facts: { settings: `one publish per message, concurrency ${concurrency}, prefetch ${prefetch} in each` },
        run: n => flow.run(n),
        async teardown() {
          stopping = true
          await Promise.all(
            children.map(async child => {
              const exited = once(child, 'exit')
              child.disconnect()
              await exited
            }),
          )
          await stopEmpty(bus)
        },
      }
    },
  }
}
