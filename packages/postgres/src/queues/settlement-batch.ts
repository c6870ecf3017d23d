import type { ChunkLease } from './lease.ts'
import type { OpenDelivery } from './open-delivery.ts'
import { actionOf, type LostLeases, type SettlementManifest, type Step, type StepPart } from './settlement-step.ts'

/**
 * The settlements of one transaction, as its manifest. Nothing of ours changes before `applied`, so a batch that failed can
 * be made anew, whole or in parts.
 */
export class SettlementBatch {
  readonly manifest: SettlementManifest = {}
  readonly #chunks = new Map<ChunkLease, { readonly parts: StepPart[]; readonly bitmap: Buffer }>()
  readonly #singles: StepPart[] = []
  readonly #heads: StepPart[] = []

  constructor(steps: readonly Step[]) {
    for (const { parts, cancel } of steps) {
      for (const part of parts) this.#add(part)
      if (cancel.length > 0) (this.manifest.x ??= []).push(...cancel)
    }
    for (const [chunk, { parts, bitmap }] of this.#chunks) this.#addChunk(chunk, parts, bitmap)
  }

  /** Whether doing it twice would differ from doing it once. */
  get isPlain(): boolean {
    return this.manifest.m === undefined && this.manifest.x === undefined
  }

  /** The server has it, but for what is lost. */
  applied(lost: LostLeases | null): void {
    const lostParts = new Set(this.partsOf(lost))
    for (const [chunk, { parts, bitmap }] of this.#chunks) {
      if (parts.some(part => lostParts.has(part))) continue
      chunk.settled = bitmap
      chunk.done += parts.length
    }
  }

  /** The parts whose lease is lost; of a chunk, all in this batch. */
  partsOf(lost: LostLeases | null): readonly StepPart[] {
    if (lost === null) return []
    const chunks = [...this.#chunks.values()]
    return [
      ...(lost.c ?? []).flatMap(at => chunks[at - 1]?.parts ?? []),
      ...(lost.s ?? []).map(at => this.#singles[at - 1] as StepPart),
      ...(lost.k ?? []).map(at => this.#heads[at - 1] as StepPart),
    ]
  }

  /** The chunks whose lease is lost: what else is open of them is lost as well. */
  lostChunks(lost: LostLeases | null): readonly ChunkLease[] {
    const chunks = [...this.#chunks.keys()]
    return (lost?.c ?? []).map(at => chunks[at - 1] as ChunkLease)
  }

  #add(part: StepPart): void {
    const { place } = part.open.held
    const action = actionOf(part.answer)
    switch (place.kind) {
      case 'chunk': {
        const { chunk, index } = place
        let entry = this.#chunks.get(chunk)
        if (entry === undefined) {
          entry = { parts: [], bitmap: Buffer.from(chunk.settled) }
          this.#chunks.set(chunk, entry)
        }
        entry.parts.push(part)
        entry.bitmap[index >> 3] = (entry.bitmap[index >> 3] as number) | (1 << (index & 7))
        if (action.a !== 0) (this.manifest.m ??= []).push({ r: chunk.rank, l: chunk.lease, i: index, ...action })
        break
      }
      case 'single':
        this.#singles.push(part)
        ;(this.manifest.s ??= []).push({ r: place.rank, l: place.lease, ...action })
        break
      case 'head':
        this.#heads.push(part)
        ;(this.manifest.k ??= []).push({ q: place.queue, k: place.key, r: place.rank, l: place.lease, ...action })
        break
      default:
        place satisfies never
    }
  }

  #addChunk(chunk: ChunkLease, parts: readonly StepPart[], bitmap: Buffer): void {
    const done = chunk.done + parts.length
    const isFinished = done === chunk.n - chunk.next
    // Nothing of it was begun, or nothing came of it: it goes back as it is.
    const isReturned = isFinished && chunk.done === 0 && parts.every(part => part.answer.as === 'release')
    const { manifest } = this
    if (isReturned && manifest.m !== undefined) {
      manifest.m = manifest.m.filter(one => one.r !== chunk.rank || one.l !== chunk.lease)
      if (manifest.m.length === 0) delete manifest.m
    }
    ;(manifest.c ??= []).push({
      r: chunk.rank,
      l: chunk.lease,
      f: isReturned ? 2 : isFinished ? 1 : 0,
      e: isReturned ? 0 : done,
      b: isFinished ? '' : bitmap.toString('base64'),
    })
  }
}

/** What a renewal names: the leases of these deliveries, each once. */
export class LeaseList {
  readonly manifest: SettlementManifest = {}
  readonly #owners: { c: OpenDelivery[][]; s: OpenDelivery[][]; k: OpenDelivery[][] } = { c: [], s: [], k: [] }

  constructor(deliveries: Iterable<OpenDelivery>) {
    const chunks = new Map<ChunkLease, OpenDelivery[]>()
    for (const open of deliveries) {
      const { place } = open.held
      if (place.kind === 'chunk') {
        const { chunk } = place
        const owners = chunks.get(chunk)
        if (owners !== undefined) {
          owners.push(open)
          continue
        }
        const list = [open]
        chunks.set(chunk, list)
        this.#owners.c.push(list)
        ;(this.manifest.c ??= []).push({ r: chunk.rank, l: chunk.lease, f: 0, e: 0, b: '' })
      } else if (place.kind === 'single') {
        this.#owners.s.push([open])
        ;(this.manifest.s ??= []).push({ r: place.rank, l: place.lease, a: 0 })
      } else {
        this.#owners.k.push([open])
        ;(this.manifest.k ??= []).push({ q: place.queue, k: place.key, r: place.rank, l: place.lease, a: 0 })
      }
    }
  }

  /** The deliveries whose lease is lost. */
  deliveriesOf(lost: LostLeases | null): readonly OpenDelivery[] {
    if (lost === null) return []
    const pick = (kind: 'c' | 's' | 'k'): readonly OpenDelivery[] =>
      (lost[kind] ?? []).flatMap(at => this.#owners[kind][at - 1] ?? [])
    return [...pick('c'), ...pick('s'), ...pick('k')]
  }
}
