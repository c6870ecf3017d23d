export { checkHistory } from './check-history.ts'
export { placeOf } from './evidence.ts'
export {
  type AnsweredRecord,
  type BegunRecord,
  type DeliveryRecord,
  type EpochRecord,
  type FaultRecord,
  type HistoryMessage,
  type HistoryRecord,
  type LifeRecord,
  type OperatedRecord,
  type OperationRecord,
  type Outcome,
  type PhaseRecord,
  type PresentRecord,
  type PresentStateRecord,
  type RecordOf,
  recordsOf,
  type SendRecord,
  type SentRecord,
} from './history-record.ts'
export { type HistoryClock, Journal, type JournalOptions, machineClock, readJournals } from './journal.ts'
export { digestOf, journalled, type JournalledOptions } from './journalled.ts'
export { notePresent } from './note-present.ts'
export { type FullPromises, type Promises, strictPromises } from './promises.ts'
export { type HistoryRule, historyRules, type Violation } from './violation.ts'
