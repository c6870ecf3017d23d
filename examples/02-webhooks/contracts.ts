import { type CommandContract, type JsonObject, defineCommand } from 'buzzer'
import { eventNames } from './payloads.ts'

/** One command per event type of GitHub, so that each has a handler, a retry policy and dead letters of its own. */
export const commands: ReadonlyMap<string, CommandContract<JsonObject>> = new Map(
  eventNames.map(event => [event, defineCommand<JsonObject>(`github.${event}`, { queue: 'github' })]),
)
