import type { AnyCommandContract, AnyEventContract } from '../message/index.ts'
import type { BusCore } from './bus-core.ts'
import type { BusPort, JoinedSend } from './bus-port.ts'
import type { Extras } from './emission.ts'
import { invalidOption } from './option-check.ts'
import type { MessageOptions } from './options.ts'
import type { BusQueue } from './queue.ts'

/** What the port asks of its bus. */
export interface PortSeams {
  queues(): Iterable<BusQueue>
  check(problems: () => readonly string[]): void
  send(
    command: AnyCommandContract,
    payload: unknown,
    options: MessageOptions<unknown> & { readonly to?: string },
    extras: Extras,
  ): Promise<string>
  publish(event: AnyEventContract, message: unknown, options: MessageOptions<unknown>, extras: Extras): Promise<string>
}

/** Makes the port through which other rooms of the package reach into a bus. */
export function makePort(core: BusCore, seams: PortSeams): BusPort {
  return {
    bus: core.name,
    instanceId: core.instanceId,
    clock: core.clock,
    newId: core.newId,
    random: core.random,
    logger: core.logger,
    transport: core.transport,
    store: core.store,
    get state() {
      return core.state
    },
    track(tracker) {
      if (core.state !== 'new') throw invalidOption('tracker', tracker.name, 'track before bus.start()')
      core.trackers.push(tracker)
    },
    observe(observer) {
      core.observers.add(observer)
      return () => {
        core.observers.delete(observer)
      }
    },
    async activity() {
      // A request that waits for its answer is no work: whoever answers is seen at work.
      let running = core.sender.inFlight
      for (const queue of seams.queues()) running += queue.inFlight + queue.waiting
      if (core.storedSends === undefined || core.state !== 'running') return running
      return running + (await core.storedSends.count('pending'))
    },
    check: problems => seams.check(problems),
    route: (command, to) => core.router.queueOf(command, to),
    async sendWith(command, payload, { to, ...options }) {
      const { given, extras } = splitJoined(options)
      return seams.send(command, payload, to === undefined ? given : { ...given, to }, extras)
    },
    async publishWith(event, message, options) {
      const { given, extras } = splitJoined(options)
      return seams.publish(event, message, given, extras)
    },
  }
}

/** What a user could have given, and what only the library may give. */
function splitJoined(options: JoinedSend): { readonly given: MessageOptions<unknown>; readonly extras: Extras } {
  const { headers, attributes, validated, state, ...given } = options
  const extras: Extras = {
    state,
    ...(headers === undefined ? {} : { headers }),
    ...(attributes === undefined ? {} : { attributes }),
    ...(validated === undefined ? {} : { validated }),
  }
  return { given, extras }
}
