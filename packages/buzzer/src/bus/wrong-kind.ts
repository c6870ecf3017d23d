import { type AnyContract, BuzzerError } from '../message/index.ts'

const verbs = { event: 'publish', command: 'send', request: 'request' } as const

/** `BUZZER_WRONG_KIND`: an event is published, a command sent, a request requested. TypeScript says so before. */
export function wrongKind(call: string, wanted: keyof typeof verbs, contract: unknown): BuzzerError {
  const given = contract as AnyContract | undefined
  const kind = given?.kind
  const known = kind === 'event' || kind === 'command' || kind === 'request'
  const advice = known ? `use ${verbs[kind]}` : 'make one with defineEvent, defineCommand or defineRequest'
  return new BuzzerError(
    'BUZZER_WRONG_KIND',
    `${call} takes ${wanted} contracts, not ${known ? `the ${kind} ${given?.type}` : String(contract)}: ${advice}`,
    { details: { call, wanted, kind: known ? kind : undefined, type: given?.type } },
  )
}
