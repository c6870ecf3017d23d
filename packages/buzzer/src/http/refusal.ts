import { type AnswerProblem, codeOf, problemKinds } from './problem-registry.ts'

export interface RefusalOptions {
  readonly detail?: string
  /** Default: from the name. */
  readonly code?: string
  /** Further members of the problem document. */
  readonly members?: Readonly<Record<string, unknown>>
  readonly headers?: Readonly<Record<string, string>>
  /** Whole seconds. Every 429 and 503 carries one; its default is 5. */
  readonly retryAfterS?: number
  readonly status?: 429 | 503
}

/** A request ends here, with a problem document. Thrown inside the gateway, never out of it. */
export class Refusal extends Error {
  readonly problem: AnswerProblem
  readonly status: number
  readonly options: RefusalOptions

  constructor(problem: AnswerProblem, options: RefusalOptions = {}) {
    super(problem)
    this.problem = problem
    this.status = options.status ?? problemKinds[problem].status
    this.options = options
  }
}

/** The answer to a refused request. `typeBase` is `{publicUrl}{basePath}`. Source: RFC 9457, spec http 5.13. */
export function problemResponse(refusal: Refusal, typeBase: string): Response {
  const { problem, status, options } = refusal
  const body = {
    type: `${typeBase}/problems/${problem}`,
    title: problemKinds[problem].title,
    status,
    ...(options.detail === undefined ? {} : { detail: options.detail }),
    code: options.code ?? codeOf(problem),
    ...options.members,
  }
  const headers = new Headers(options.headers)
  headers.set('Content-Type', 'application/problem+json')
  headers.set('Cache-Control', 'no-store')
  headers.set('X-Content-Type-Options', 'nosniff')
  if (status === 429 || status === 503) headers.set('Retry-After', String(options.retryAfterS ?? 5))
  return new Response(JSON.stringify(body), { status, headers })
}
