export { canonicalJson } from './canonical-json.ts'
export type { Completion, EventCompletion } from './completion.ts'
export { type EventEnding, readCompletion } from './completion.ts'
export { fingerprintOf, type IdempotencyKey } from './idempotency.ts'
export * from './operation.ts'
export type { HandOver } from './callbacks.ts'
export type { OperationRecord } from './operation-record.ts'
export { eventsAfter } from './operation-record.ts'
export {
  createOperations,
  insideOf,
  type OperationQuery,
  type Operations,
  type OperationsInside,
  type SubmitOptions,
  type Ticket,
} from './operations.ts'
export { type OperationsOptions, readRetention, type Retention } from './options.ts'
export type { Problem } from './problem.ts'
export { attachTracking } from './track.ts'
