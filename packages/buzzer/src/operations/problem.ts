/**
 * What went wrong, for people and programs outside. Source: RFC 9457.
 * `type` of Buzzer's own problems is the path `/problems/{name}`; the HTTP gateway resolves it against its own address.
 */
export interface Problem {
  readonly type: string
  readonly title: string
  readonly status?: number
  readonly detail?: string
  /** Stable: `BUZZER_…`, or the developer's own. */
  readonly code?: string
  /** Handler runs until the operation failed. */
  readonly attempts?: number
  readonly [member: string]: ProblemMember | undefined
}

type ProblemMember =
  | string
  | number
  | boolean
  | null
  | readonly ProblemMember[]
  | { readonly [name: string]: ProblemMember | undefined }

/** The command's handler failed for good, or the operation was failed by an event or by hand. */
export function operationFailed(attempts: number, given: Partial<Problem> = {}): Problem {
  return {
    type: '/problems/operation-failed',
    title: 'The operation failed',
    code: 'BUZZER_OPERATION_FAILED',
    attempts,
    ...present(given),
  }
}

/** `withinMs` passed before the completing event. */
export function operationTimedOut(attempts: number): Problem {
  return {
    type: '/problems/operation-timed-out',
    title: 'The operation did not end in time',
    code: 'BUZZER_OPERATION_TIMED_OUT',
    attempts,
  }
}

/** Only members with a value: a developer's `{ detail: undefined }` must not erase what is there. */
function present(given: Partial<Problem>): Partial<Problem> {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
}
