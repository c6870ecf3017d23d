import type { ControlChannel } from './control-channel.ts'
import { delayLevels, levelMs, levelPattern } from './delay-keys.ts'
import { isNotFound } from './errors.ts'
import type { Names } from './names.ts'
import { sealQueues } from './seal.ts'

/**
 * Makes the levels of the delay chain up to `level`, if they are not there yet. Level n is a queue that holds what enters it
 * for 2ⁿ steps and then hands it to the exchange one level down; the exchange of a level sends a message into its queue, or
 * past it, by the bit of the routing key. Everything is durable: a delay outlives the server.
 *
 * One time to live per queue, never per message: expired messages leave a queue only at its head.
 * At-least-once dead-lettering needs `reject-publish`; without it the server silently falls back to at-most-once.
 * Source: spec transports 2.4, RabbitMQ guide on quorum queues.
 */
export async function makeDelayLevels(control: ControlChannel, names: Names, level: number): Promise<void> {
  if (await isComplete(control, names, level)) return
  await control.run(channel => channel.assertExchange(names.due, 'topic', { durable: true }))
  for (let at = 0; at <= level; at++) {
    const name = names.delay(at)
    const below = at === 0 ? names.due : names.delay(at - 1)
    await control.run(channel => channel.assertExchange(name, 'topic', { durable: true }))
    await control.run(channel => channel.assertQueue(name, { durable: true, arguments: levelArguments(at, below) }))
    await control.run(channel => channel.bindQueue(name, name, levelPattern(at, 1)))
    await control.run(channel => channel.bindExchange(below, name, levelPattern(at, 0)))
  }
  await sealQueues(control, names)
  await control.run(channel =>
    channel.assertExchange(names.delayMark(level), 'fanout', { durable: true, internal: true }),
  )
}

/** Something of the chain was deleted: it has to be looked through again. */
export async function doubtDelayLevels(control: ControlChannel, names: Names): Promise<void> {
  for (let at = 0; at < delayLevels; at++) await control.ask(channel => channel.deleteExchange(names.delayMark(at)))
}

async function isComplete(control: ControlChannel, names: Names, level: number): Promise<boolean> {
  const asked = await control.ask(channel => channel.checkExchange(names.delayMark(level)))
  if (!('refusal' in asked)) return true
  if (isNotFound(asked.refusal)) return false
  throw asked.refusal
}

function levelArguments(level: number, below: string): Readonly<Record<string, string | number>> {
  return {
    'x-queue-type': 'quorum',
    'x-delivery-limit': 1_000_000,
    'x-message-ttl': levelMs(level),
    'x-dead-letter-exchange': below,
    'x-dead-letter-strategy': 'at-least-once',
    'x-overflow': 'reject-publish',
  }
}
