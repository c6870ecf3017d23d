import type { BusPort } from '../bus/index.ts'
import type { Clock, Logger } from '../message/index.ts'
import type { OperationRecord } from './operation-record.ts'
import { openRecords, type OperationRecords, type StoredOperation } from './operation-records.ts'
import { ProgressRecorder } from './progress-recorder.ts'
import { RecordWatch } from './record-watch.ts'

/** What the tracker of a bus and the operations made from it share: one watch and one pace of progress per process. */
export interface Tracking {
  readonly port: BusPort
  readonly records: OperationRecords
  readonly watch: RecordWatch
  readonly progress: ProgressRecorder
  readonly clock: Clock
  readonly logger: Logger
  /** This process has just committed or read `stored`: tells all who wait for it here. */
  changed(id: string, stored: StoredOperation): void
  /** A record of this process may be due at another time than before: tells the sweeper. */
  noticed(record: OperationRecord): void
  readonly onNoticed: Set<(record: OperationRecord) => void>
  /** A command says it has an operation and the store knows none: logged once, counted always. Source: spec http 2.11. */
  unknown(id: string): void
  readonly unknownCount: number
}

const trackings = new WeakMap<BusPort, Tracking>()

/** The tracking of a bus; made on first use. Throws `BUZZER_STORE_NOT_DURABLE` when the bus has no store. */
export function trackingOf(port: BusPort): Tracking {
  let tracking = trackings.get(port)
  if (tracking === undefined) {
    tracking = open(port)
    trackings.set(port, tracking)
  }
  return tracking
}

function open(port: BusPort): Tracking {
  const { clock, logger } = port
  const records = openRecords(port)
  const watch = new RecordWatch(records, clock, logger)
  const onNoticed = new Set<(record: OperationRecord) => void>()
  const noticed = (record: OperationRecord): void => {
    for (const listener of onNoticed) listener(record)
  }
  const changed = (id: string, stored: StoredOperation): void => {
    watch.tell(id, stored)
    noticed(stored.record)
  }
  let unknownCount = 0
  return {
    port,
    records,
    watch,
    progress: new ProgressRecorder(records, clock, logger, changed),
    changed,
    noticed,
    onNoticed,
    clock,
    logger,
    unknown(id) {
      if (unknownCount++ > 0) return
      logger.warn(
        { code: 'BUZZER_OPERATION_UNKNOWN', operation: id },
        'a command names an operation that this store does not know; it is handled without. Do sender and worker use one store?',
      )
    },
    get unknownCount() {
      return unknownCount
    },
  }
}
