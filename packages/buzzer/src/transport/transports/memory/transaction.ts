import { BuzzerError } from '../../../message/index.ts'
import type { StateChange } from '../../../store/index.ts'
import type { AppendBatch, OutgoingMessage } from '../../index.ts'
import type { Limits } from './shipments.ts'

/**
 * A transaction of a memory broker, made by `broker.transaction(async tx => …)`. Sends, store commits and appends that carry it exist
 * only if the function resolves; then all of them in one step, in the order of the calls.
 */
export interface MemoryTransaction {
  readonly state: 'open' | 'committed' | 'rolled-back'
}

/** What a transaction has gathered. */
export class OpenTransaction implements MemoryTransaction {
  state: 'open' | 'committed' | 'rolled-back' = 'open'
  readonly owner: object
  readonly sends: { readonly messages: readonly OutgoingMessage[]; readonly limits: Limits }[] = []
  readonly changes: StateChange[] = []
  readonly appends: AppendBatch[] = []

  constructor(owner: object) {
    this.owner = owner
  }
}

/** @throws BUZZER_INVALID_OPTION for a transaction of another broker, or one that is over */
export function openTransaction(tx: MemoryTransaction, owner: object): OpenTransaction {
  if (!(tx instanceof OpenTransaction) || tx.owner !== owner) {
    throw new BuzzerError('BUZZER_INVALID_OPTION', 'tx is no transaction of this memory broker', {
      details: { option: 'tx' },
    })
  }
  if (tx.state !== 'open') {
    throw new BuzzerError('BUZZER_INVALID_OPTION', `tx is ${tx.state}: use it only while its function runs`, {
      details: { option: 'tx', state: tx.state },
    })
  }
  return tx
}
