import { createRequire } from 'node:module'
import type { JsonObject } from 'buzzer'

/** One payload as GitHub sends it. */
export interface Delivery {
  readonly event: string
  /** `X-GitHub-Delivery`: unique. Made of event and position, so that a run can be repeated. */
  readonly id: string
  readonly payload: JsonObject
}

/** Every example payload of `@octokit/webhooks-examples`, in the order of the package. */
export function allDeliveries(): readonly Delivery[] {
  const load = createRequire(import.meta.url)
  const catalogue = load('@octokit/webhooks-examples') as readonly { name: string; examples: readonly JsonObject[] }[]
  return catalogue.flatMap(({ name, examples }) =>
    examples.map((payload, i) => ({ event: name, id: `${name}-${i}`, payload })),
  )
}

export const eventNames: readonly string[] = [...new Set(allDeliveries().map(({ event }) => event))]
