export type { EmbeddedAdmin } from './client/embedded-admin.ts'
export type { EmbeddedLog } from './client/embedded-log.ts'
export type { EmbeddedStore } from './client/embedded-store.ts'
export type { EmbeddedOnDelivery, EmbeddedSettlement } from './client/open-locks.ts'
export type { EmbeddedOptions } from './client/options.ts'
export { embedded, type EmbeddedTransport } from './embedded.ts'
export {
  checkFile,
  type EngineStats,
  type FileProblem,
  type FileReport,
  type SalvageReport,
  salvageFile,
} from './engine/index.ts'
