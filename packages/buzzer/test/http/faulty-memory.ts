import { BuzzerError } from '../../src/message/index.ts'
import { memory } from '../../src/transport/transports/memory.ts'

type MemoryTransport = ReturnType<typeof memory>

/** Memory whose next send, records included, fails with nothing stored. */
export function faultyStoreMemory(): MemoryTransport & {
  failNextSend(code?: `BUZZER_${string}`): void
  /** Confirmations wait until the result is called; what was sent is stored. */
  holdConfirmations(): () => void
} {
  const transport = memory()
  const send = transport.send.bind(transport)
  let failWith: `BUZZER_${string}` | undefined
  let held: Promise<void> | undefined
  transport.send = async (messages, options) => {
    const code = failWith
    failWith = undefined
    if (code !== undefined) throw new BuzzerError(code, 'made to fail by the test')
    await send(messages, options)
    if (held !== undefined) await held
  }
  return Object.assign(transport, {
    failNextSend(code: `BUZZER_${string}` = 'BUZZER_SEND_FAILED') {
      failWith = code
    },
    holdConfirmations() {
      const { promise, resolve } = Promise.withResolvers<void>()
      held = promise
      return () => {
        held = undefined
        resolve()
      }
    },
  })
}
