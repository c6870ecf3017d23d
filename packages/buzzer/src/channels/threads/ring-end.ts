import { threadId } from 'node:worker_threads'
import { ChannelPeerLostError, ChannelSideTakenError, type Outcome } from '../errors.ts'
import { type End, ends, type LostPeer, type SharedRing, type Side } from './shared-ring.ts'

/** Ends that a thread holds when it exits say goodbye, so that the peer need not be watched for an orderly exit. */
const held = new Set<RingEnd>()
let exitHeard = false

function sayGoodbyeOnExit(): void {
  if (exitHeard) return
  exitHeard = true
  process.on('exit', exitCode => {
    for (const end of held) end.ring.lose({ threadId, exitCode })
  })
}

/** One thread's view of a worker channel: which sides it holds, and how the channel ended. */
export class RingEnd {
  readonly ring: SharedRing
  readonly name: string
  readonly holds: Set<Side> = new Set<Side>()
  #outcome: Outcome | undefined = undefined
  readonly #callbacks: (() => void)[] = []

  constructor(ring: SharedRing, name: string) {
    this.ring = ring
    this.name = name
  }

  /** Throws `BUZZER_CHANNEL_SIDE_TAKEN` when another thread holds that side. */
  claim(side: Side): void {
    const holder = this.ring.claim(side, threadId)
    if (holder !== threadId) {
      throw new ChannelSideTakenError(
        `thread ${holder} is the ${side} of worker channel "${this.name}": one thread reads, one thread writes`,
        { details: { side, threadId: holder } },
      )
    }
    this.holds.add(side)
    held.add(this)
    sayGoodbyeOnExit()
    this.onEnd(() => held.delete(this))
  }

  /** Calls back once when the channel has ended: at once if this thread ended it, else when its bell was heard. */
  onEnd(callback: () => void): void {
    if (this.told) return callback()
    this.#callbacks.push(callback)
    if (this.#callbacks.length > 1) return
    void this.ring.whenEnded().then(() => this.#callBack())
  }

  #callBack(): void {
    for (const callback of this.#callbacks.splice(0)) callback()
  }

  heldElsewhere(side: Side): boolean {
    const holder = this.ring.holder(side)
    return holder !== undefined && holder !== threadId
  }

  /** Closed for writing; what is in the ring stays readable unless it was dropped. */
  get told(): boolean {
    return this.ring.end > ends.telling
  }

  get dropped(): boolean {
    return this.ring.dropped
  }

  /** Only once `told`. The thread that ended it keeps the error itself, the other one sees its twin. */
  get outcome(): Outcome {
    this.#outcome ??= { error: this.#readError() }
    return this.#outcome
  }

  finish(end: End, error: unknown): boolean {
    if (!this.ring.finish(end, error)) return false
    this.#outcome = { error }
    this.#callBack()
    return true
  }

  /** A thread is gone, or has let go. */
  lose(peer: LostPeer): void {
    if (this.ring.lose(peer)) this.#callBack()
  }

  #readError(): unknown {
    const { end } = this.ring
    if (end === ends.failed) return this.ring.readError()
    if (end !== ends.lost) return undefined
    const { threadId: lost, exitCode } = this.ring.lostPeer
    const how = exitCode === letGo ? 'let go of' : `exited with code ${exitCode} while using`
    return new ChannelPeerLostError(`thread ${lost} ${how} worker channel "${this.name}"`, {
      details: { threadId: lost, exitCode },
    })
  }
}

/** In place of an exit code: the thread lives, but has disposed of its end. */
export const letGo = -1
