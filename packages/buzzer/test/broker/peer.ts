/** A process that uses an embedded broker as its parent tells it. Driven by `PeerProcess`. */
import { readFileSync } from 'node:fs'
import { embedded, type EmbeddedSettlement, type EmbeddedTransport } from 'buzzer/embedded'
import type { Receiver } from 'buzzer/transport'
import type { PeerCalls, PeerEvent } from './peer-process.ts'

const transports = new Map<string, EmbeddedTransport>()
const receivers = new Map<string, Receiver>()
const held = new Map<string, (settlement: EmbeddedSettlement) => void>()
const watches = new Map<string, AsyncDisposable>()

function tell(event: PeerEvent): void {
  if (process.connected) process.send?.(event)
}

/** Nothing else of this event loop runs meanwhile. */
function spin(ms: number): void {
  const until = performance.now() + ms
  while (performance.now() < until);
}

function transport(name = 'main'): EmbeddedTransport {
  const found = transports.get(name)
  if (found === undefined) throw new Error(`no transport ${name} here`)
  return found
}

function log(level: string): (fields: object, message: string) => void {
  return (fields, message) => tell({ as: 'log', level, message, fields: JSON.parse(JSON.stringify(fields)) as object })
}

const calls: { [C in keyof PeerCalls]: (input: PeerCalls[C]['input']) => Promise<PeerCalls[C]['output']> } = {
  async connect({ name = 'main', options }) {
    const made = embedded(options)
    transports.set(name, made)
    await made.connect({
      logger: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') },
      onState: state => tell({ as: 'state', state }),
    })
  },
  declare: ({ name, topology }) => transport(name).declare(topology),
  send: ({ name, messages, state }) => transport(name).send(messages, state === undefined ? {} : { state }),
  async receive({ name, queue, maxInFlight, answer, takesMs = 0 }) {
    const receiver = await transport(name).receive(
      queue,
      async delivery => {
        const { id, attempt, key } = delivery
        tell({ as: 'begun', id, attempt, pid: process.pid, ...(key === undefined ? {} : { key }) })
        delivery.signal.addEventListener('abort', () => {
          tell({ as: 'aborted', id, code: (delivery.signal.reason as { code: string }).code })
        })
        if (answer === 'hold') return await new Promise(resolve => held.set(id, resolve))
        if (answer === 'crash') process.kill(process.pid, 'SIGKILL')
        if (answer === 'spin') spin(takesMs)
        else if (takesMs > 0) await new Promise(resolve => setTimeout(resolve, takesMs))
        tell({ as: 'done', id, attempt, pid: process.pid })
        return { as: answer === 'retry' ? 'retry' : 'ack' }
      },
      { maxInFlight, orderBy: 'none' },
    )
    receivers.set(queue, receiver)
  },
  async settle({ id, settlement }) {
    held.get(id)?.(settlement)
  },
  async stop({ queue }) {
    await receivers.get(queue)?.stop()
  },
  figures: ({ name, queue }) => transport(name).admin.queue(queue),
  engine: ({ name }) => transport(name).admin.engine(),
  peek: async ({ name, queue }) => [...(await transport(name).admin.peek(queue, { limit: 1000 })).items],
  storeDeclare: ({ name, collections }) => transport(name).store.declare(collections),
  commit: ({ name, changes }) => transport(name).store.commit(changes),
  get: ({ name, collection, id }) => transport(name).store.get(collection, id),
  async watch({ name, collection, id }) {
    watches.set(id, await transport(name).store.watch(collection, id, () => tell({ as: 'changed', collection, id })))
  },
  logDeclare: ({ name, streams }) => transport(name).log.declare(streams),
  append: ({ name, batches }) => transport(name).log.append(batches),
  async appendMany({ name, stream, label, batches, each, inFlight }) {
    const { log } = transport(name)
    let batch = 0
    const append = async (): Promise<void> => {
      for (let n = batch++; n < batches; n = batch++) {
        const records = Array.from({ length: each }, (_, record) => ({ value: Buffer.from(`${label}:${n}:${record}`) }))
        await log.append([{ stream, partition: 0, records }])
      }
    }
    await Promise.all(Array.from({ length: inFlight }, append))
  },
  read: ({ name, request }) => transport(name).log.read(request),
  async follow({ name, stream }) {
    void follow(transport(name), stream)
  },
  async readFile({ path }) {
    return readFileSync(path).length
  },
  async block({ ms }) {
    await new Promise<void>(resolve => {
      process.send?.({ as: 'blocking' } satisfies PeerEvent, () => resolve())
    })
    spin(ms)
  },
  close: ({ name }) => transport(name).close(),
  async exit() {
    setTimeout(() => process.disconnect(), 50)
  },
}

async function follow({ log }: EmbeddedTransport, stream: string): Promise<void> {
  let from: number | 'start' = 'start'
  try {
    for (;;) {
      const { records, next } = await log.read({ stream, partition: 0, from, waitMs: 60_000 })
      for (const { position, value } of records) {
        tell({ as: 'record', position, text: Buffer.from(value ?? []).toString() })
      }
      from = next
    }
  } catch (error) {
    tell({ as: 'unfollowed', code: (error as { code: string }).code })
  }
}

process.on('message', ({ id, call, input }: { id: number; call: keyof PeerCalls; input: never }) => {
  void (async () => {
    try {
      tell({ as: 'result', id, value: await calls[call](input) })
    } catch (error) {
      const { code, message, details } = error as Error & { code?: string; details?: object }
      tell({ as: 'failure', id, code: code ?? 'unknown', message, details: { ...details } })
    }
  })()
})
tell({ as: 'ready' })
