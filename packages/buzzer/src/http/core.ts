import type { BusPort } from '../bus/index.ts'
import type { Clock, Logger } from '../message/index.ts'
import type { Operations, OperationsInside } from '../operations/index.ts'
import type { AdmissionControl } from './admission.ts'
import type { Identity } from './identity.ts'
import type { Resources } from './resource.ts'
import type { Settings } from './settings.ts'
import type { Webhooks } from './webhooks.ts'

/** What the parts of one gateway share. */
export interface GatewayCore {
  readonly port: BusPort
  readonly clock: Clock
  readonly logger: Logger
  readonly settings: Settings
  readonly operations: Operations
  readonly inside: OperationsInside
  readonly identity: Identity
  readonly resources: Resources
  readonly admission: AdmissionControl
  /** Absent without the option. */
  webhooks: Webhooks | undefined
  /** Aborts when the gateway closes: waits and streams end. */
  readonly closing: AbortSignal
}
