import { resolve } from 'node:path'
import type { JsonValue } from '../../message/index.ts'
import type {
  BindingDeclaration,
  Match,
  MessageState,
  PeekedMessage,
  QueueFigures,
  QueueLimits,
  TransportAdmin,
} from '../../transport/index.ts'
import type { EngineStats, FileReport } from '../engine/index.ts'
import { type AdminRequest, decodePeeked, type PeekedWire, type Request } from '../protocol/index.ts'
import { checkPageLimit } from './page-limit.ts'

/** What an operator may ask of the embedded broker, from any process that uses the file. Source: spec broker 1, 8. */
export interface EmbeddedAdmin extends Required<Omit<TransportAdmin, 'examine'>> {
  /** Writes a consistent, checked copy that opens like any other; what was locked is ready in it. */
  backup(toPath: string): Promise<void>
  /** Structure, checksums, counts against rows. Changes nothing. */
  check(): Promise<FileReport>
  /** The engine's figures, whichever process hosts it. */
  engine(): Promise<EngineStats>
}

type WithoutCall<T> = T extends AdminRequest ? Omit<T, 'call'> : never

/** `ask` rejects with the engine's error, on an unknown queue `BUZZER_QUEUE_NOT_FOUND`. */
export function embeddedAdmin(ask: (request: Request) => Promise<unknown>): EmbeddedAdmin {
  const admin = (request: WithoutCall<AdminRequest>): Promise<unknown> => ask({ call: 'admin', ...request })
  const counted = async (request: WithoutCall<AdminRequest>): Promise<number> => (await admin(request)) as number
  const done = async (request: WithoutCall<AdminRequest>): Promise<void> => void (await admin(request))
  return {
    queues: async () => (await admin({ method: 'queues' })) as readonly QueueFigures[],
    queue: async (queue: string) => (await admin({ method: 'queue', queue })) as QueueFigures,
    peek: async (
      queue: string,
      options: { state?: MessageState; after?: string; limit?: number } = {},
    ): Promise<{ readonly items: readonly PeekedMessage[]; readonly next?: string }> => {
      checkPageLimit(options.limit)
      const page = (await admin({ method: 'peek', queue, options })) as { items: PeekedWire[]; next?: string }
      return { ...page, items: page.items.map(decodePeeked) }
    },
    purge: (queue: string, options: { state?: MessageState; before?: number } = {}) =>
      counted({ method: 'purge', queue, options }),
    redrive: (queue: string, options: { ids?: readonly string[]; limit?: number; to?: string } = {}) =>
      counted({ method: 'redrive', queue, options }),
    deleteDead: (queue: string, options: { ids?: readonly string[] } = {}) =>
      counted({ method: 'deleteDead', queue, options }),
    cancelScheduled: async (messageId: string) => (await admin({ method: 'cancelScheduled', messageId })) as boolean,
    unpark: (queue: string, ids: readonly string[]) => counted({ method: 'unpark', queue, ids }),
    alter: (queue: string, options: QueueLimits) => done({ method: 'alter', queue, options }),
    deleteQueue: (queue: string) => done({ method: 'deleteQueue', queue }),
    bind: (topic: string, queue: string, match?: Match) =>
      done({ method: 'bind', topic, queue, ...(match === undefined ? {} : { match: match as unknown as JsonValue }) }),
    unbind: (topic: string, queue: string) => done({ method: 'unbind', topic, queue }),
    bindings: async (topic: string) =>
      (await admin({ method: 'bindings', topic })) as readonly Omit<BindingDeclaration, 'topic'>[],
    // The owner may have another working directory.
    backup: (toPath: string) => done({ method: 'backup', toPath: resolve(toPath) }),
    check: async () => (await admin({ method: 'check' })) as FileReport,
    engine: async () => (await admin({ method: 'engine' })) as EngineStats,
  }
}
