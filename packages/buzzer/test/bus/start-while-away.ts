// A program that does nothing but start its bus, while the broker is away for the first three tries.
import { createBus } from '../../src/index.ts'
import { BuzzerError, silentLogger } from '../../src/message/index.ts'
import { defineTransport } from '../../src/transport/index.ts'
import { memory } from '../../src/transport/transports/memory.ts'

const transport = memory()
let tries = 0
const away = defineTransport({
  ...transport,
  async connect(context) {
    if (++tries <= 3) throw new BuzzerError('BUZZER_DISCONNECTED', 'the broker is away')
    await transport.connect(context)
  },
})

const bus = createBus({ name: 'patient', transport: away, logger: silentLogger })
await bus.start()
await bus.stop()
process.stdout.write(`started at try ${tries}`)
