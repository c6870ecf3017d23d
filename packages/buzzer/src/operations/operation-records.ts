import type { BusPort } from '../bus/index.ts'
import { BuzzerError, hasCode } from '../message/index.ts'
import type { Store, StoredRecord } from '../store/index.ts'
import { type OperationTurn, takeTurn } from './operation-life.ts'
import { type OperationRecord, operationsCollection, putRecord } from './operation-record.ts'

/** A record with the store's version of it. */
export interface StoredOperation {
  readonly record: OperationRecord
  readonly storeVersion: number
}

/** Reads and changes records of operations in the bus's store. All methods may be called concurrently. */
export interface OperationRecords {
  readonly store: Store<unknown>
  get(id: string, signal?: AbortSignal): Promise<StoredOperation | undefined>
  /**
   * Takes turns on the record as it is now and commits what they change; read again and repeated when somebody else was
   * faster. Resolves to the record as it then is, `undefined` for an unknown id.
   */
  take(
    id: string,
    turns: (record: OperationRecord) => readonly OperationTurn[],
    known?: StoredOperation,
  ): Promise<StoredOperation | undefined>
}

/** A record changes a few times a second at most; more lost races than this mean that something else is wrong. */
const maxRaces = 50

export function openRecords(port: BusPort): OperationRecords {
  const store = port.store
  if (store === undefined) {
    throw new BuzzerError(
      'BUZZER_STORE_NOT_DURABLE',
      `bus ${port.bus} has no store: its transport ${port.transport.name} brings none and the bus was given none`,
    )
  }
  const get = async (id: string, signal?: AbortSignal): Promise<StoredOperation | undefined> => {
    const found: StoredRecord<OperationRecord> | undefined = await store.get<OperationRecord>(
      operationsCollection,
      id,
      signal === undefined ? {} : { signal },
    )
    return found === undefined ? undefined : { record: found.value, storeVersion: found.version }
  }
  return {
    store,
    get,
    async take(id, turns, known) {
      let stored = known ?? (await get(id))
      for (let race = 0; ; race++) {
        if (stored === undefined) return undefined
        const record = takeTurns(stored.record, turns(stored.record), port.clock.now())
        if (record === stored.record) return stored
        try {
          await store.commit([putRecord(record, stored.storeVersion)])
          return { record, storeVersion: stored.storeVersion + 1 }
        } catch (error) {
          if (!hasCode(error, 'BUZZER_CONFLICT') || race >= maxRaces) throw error
          stored = await get(id)
        }
      }
    },
  }
}

export function takeTurns(record: OperationRecord, turns: readonly OperationTurn[], nowMs: number): OperationRecord {
  return turns.reduce((now, turn) => takeTurn(now, turn, nowMs), record)
}
