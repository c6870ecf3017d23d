import type { Chunk } from './chunk.ts'
import type { Receiver, Session } from './session.ts'

/** Slots in one table of open deliveries: 22 bits, so a token (slot and generation) is exact in a double. */
const slotLimit = 2 ** 22
const generationLimit = 2 ** 31

/**
 * The open deliveries. A token names a slot and the generation it was given in, so an old token names nothing.
 * Arrays side by side: no object per delivery.
 */
export class Deliveries {
  readonly #chunks: (Chunk | undefined)[] = []
  readonly #receivers: (Receiver | undefined)[] = []
  readonly #index: number[] = []
  readonly #bytes: number[] = []
  readonly #generation: number[] = []
  /** A slot whose settlement waits for others of its group. */
  readonly #grouped: (string | undefined)[] = []
  readonly #free: number[] = []
  /** Of the transaction of the moment, so that a full disk can be undone. */
  #added: number[] = []
  #freed: number[] = []
  #freedReceivers: Receiver[] = []
  #lastGeneration: number
  #open = 0

  constructor(firstGeneration: number) {
    this.#lastGeneration = firstGeneration % generationLimit
  }

  get open(): number {
    return this.#open
  }

  /** Whether there is room for one more. */
  get full(): boolean {
    return this.#open >= slotLimit
  }

  /** `chunk` undefined: a dead letter, `index` is its sequence. Returns the token. */
  add(receiver: Receiver, chunk: Chunk | undefined, index: number, bytes: number): number {
    const slot = this.#free.pop() ?? this.#receivers.length
    this.#lastGeneration = (this.#lastGeneration + 1) % generationLimit
    this.#chunks[slot] = chunk
    this.#receivers[slot] = receiver
    this.#index[slot] = index
    this.#bytes[slot] = bytes
    this.#generation[slot] = this.#lastGeneration
    this.#grouped[slot] = undefined
    this.#open++
    this.#added.push(slot)
    receiver.inFlight++
    return this.#lastGeneration * slotLimit + slot
  }

  /** The slot of an open delivery of `session`, or -1. */
  find(token: number, session: Session): number {
    const slot = token % slotLimit
    const receiver = this.#receivers[slot]
    if (receiver === undefined || receiver.session !== session) return -1
    return this.#generation[slot] === Math.floor(token / slotLimit) ? slot : -1
  }

  token(slot: number): number {
    return (this.#generation[slot] as number) * slotLimit + slot
  }

  chunk(slot: number): Chunk | undefined {
    return this.#chunks[slot]
  }

  /** Index in the chunk, or the sequence of a dead letter. */
  index(slot: number): number {
    return this.#index[slot] as number
  }

  bytes(slot: number): number {
    return this.#bytes[slot] as number
  }

  receiver(slot: number): Receiver {
    return this.#receivers[slot] as Receiver
  }

  group(slot: number): string | undefined {
    return this.#grouped[slot]
  }

  setGroup(slot: number, group: string | undefined): void {
    this.#grouped[slot] = group
  }

  /** The slot is used again only after `confirm`. */
  free(slot: number): void {
    const receiver = this.#receivers[slot]
    if (receiver === undefined) return
    receiver.inFlight--
    this.#receivers[slot] = undefined
    this.#freed.push(slot)
    this.#freedReceivers.push(receiver)
    this.#open--
  }

  /** The transaction is in the file. */
  confirm(): void {
    for (const slot of this.#freed) {
      this.#chunks[slot] = undefined
      this.#free.push(slot)
    }
    this.#freed.length = 0
    this.#freedReceivers.length = 0
    this.#added.length = 0
  }

  /** The transaction was rolled back: what it freed is open again, what it added never was. */
  undo(): void {
    for (const [at, slot] of this.#freed.entries()) {
      const receiver = this.#freedReceivers[at] as Receiver
      this.#receivers[slot] = receiver
      receiver.inFlight++
      this.#open++
    }
    const added = this.#added
    this.#freed.length = 0
    this.#freedReceivers.length = 0
    for (const slot of added) this.free(slot)
    this.confirm()
  }

  /** Slots of open deliveries that `wanted` accepts. */
  slots(wanted: (receiver: Receiver) => boolean): number[] {
    const found: number[] = []
    for (let slot = 0; slot < this.#receivers.length; slot++) {
      const receiver = this.#receivers[slot]
      if (receiver !== undefined && wanted(receiver)) found.push(slot)
    }
    return found
  }

  /** After a reload from the file: the same delivery, in the chunk as it is in memory now. */
  relink(slot: number, chunk: Chunk): void {
    this.#chunks[slot] = chunk
  }
}
