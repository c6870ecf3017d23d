import type { Reporter, TestModule } from 'vitest/node'
import type { Protocol } from './handshake.ts'
import { service } from './service.ts'

const names: readonly Protocol[] = ['rabbitmq', 'postgres', 'kafka']

/** Says aloud, one line for each server at the end of a run, which tests were left out because it was not there. */
export default class SkipReport implements Reporter {
  async onTestRunEnd(modules: readonly TestModule[]): Promise<void> {
    for (const name of names) {
      const own = modules.filter(({ moduleId }) => moduleId.endsWith(`.int.test.ts`) && needs(moduleId, name))
      const skipped = own.flatMap(module => [...module.children.allTests('skipped')]).length
      if (skipped === 0) continue
      const { reason } = await service(name).catch((error: unknown) => ({ reason: String(error) }))
      // With the server there, a skipped test is one whose duty the transport does not claim; it carries its own reason.
      if (reason !== undefined) console.log(`SKIPPED ${name} (${skipped} tests): ${reason}`)
    }
  }
}

/** The package of a transport is named after its server; elsewhere the file's name says whom it needs. */
function needs(moduleId: string, name: Protocol): boolean {
  return moduleId.includes(`/packages/${name}/`) || moduleId.includes(`${name}.int.test.ts`)
}
