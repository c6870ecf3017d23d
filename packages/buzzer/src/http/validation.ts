import type { Logger, StandardIssue, StandardSchema } from '../message/index.ts'
import { Refusal } from './refusal.ts'

const maxErrors = 20

/**
 * Asks the schema. The value itself goes on, not the schema's output: what travels is the input (spec bus 1.1).
 * Refuses with `validation-failed`; a schema that throws counts as one, its own text kept to the log.
 */
export async function validate(schema: StandardSchema | undefined, value: unknown, logger: Logger): Promise<void> {
  if (schema === undefined) return
  let issues: readonly StandardIssue[] | undefined
  try {
    const result = await schema['~standard'].validate(value)
    issues = result.issues
  } catch (error) {
    logger.error({ error }, 'a schema threw instead of reporting issues')
    throw new Refusal('validation-failed', {
      detail: 'The schema of this route threw an exception on this body, so the body cannot be accepted',
      members: { errors: [{ detail: 'The schema threw', pointer: '#' }] },
    })
  }
  if (issues === undefined) return
  const errors = issues.slice(0, maxErrors).map(issue => ({ detail: issue.message, pointer: pointerOf(issue) }))
  throw new Refusal('validation-failed', {
    detail: issues.length === 1 ? 'The body has 1 fault' : `The body has ${issues.length} faults`,
    members: { errors },
  })
}

/** JSON Pointer as URI fragment (RFC 6901, section 6). */
export function pointerOf(issue: StandardIssue): string {
  const parts = (issue.path ?? []).map(part => String(typeof part === 'object' ? part.key : part))
  return `#${parts.map(part => `/${encodeURIComponent(part.toWellFormed().replaceAll('~', '~0').replaceAll('/', '~1'))}`).join('')}`
}
