/** A kind of problem: its answer, and what its page says. */
export interface ProblemKind {
  /** Of the answer; absent for problems that only stand in the `error` of an operation. */
  readonly status?: number
  readonly title: string
  /** What happened and what to do about it, for the page at `/problems/{name}`. */
  readonly page: string
}

/**
 * Every problem the gateway answers with. A test compares it with `docs/reference/problems.md` and the table of
 * spec http 5.13.
 */
export const problemKinds = {
  'malformed-json': {
    status: 400,
    title: 'The body is not valid JSON',
    page: 'The body must be one JSON value in UTF-8. Blank or trailing text, NaN, invalid UTF-8 and a member named __proto__ are refused. Nothing was stored.',
  },
  'json-too-complex': {
    status: 400,
    title: 'The JSON body is nested too deeply or has too many members',
    page: 'The gateway bounds depth and number of members, so that no body can exhaust it. Send a simpler body. Nothing was stored.',
  },
  'idempotency-key-missing': {
    status: 400,
    title: 'The Idempotency-Key header is missing',
    page: 'This route asks for an Idempotency-Key header, so that a repeated request is accepted once. Send a fresh unique value, such as a UUID, with each new request, and the same value with its repeats.',
  },
  'idempotency-key-invalid': {
    status: 400,
    title: 'The Idempotency-Key header is not valid',
    page: 'A key is 1 to 255 visible ASCII characters, bare or in double quotes, and comes once.',
  },
  'invalid-cloudevent': {
    status: 400,
    title: 'The request is not a valid CloudEvent',
    page: 'id, source, type and specversion 1.0 are required, as ce- headers or in an application/cloudevents+json body. Nothing was published.',
  },
  unauthenticated: {
    status: 401,
    title: 'Authentication is required',
    page: 'The request carries no valid credentials. The WWW-Authenticate header says which scheme is expected.',
  },
  forbidden: {
    status: 403,
    title: 'This is not allowed',
    page: 'The credentials are valid, but do not allow this request. Repeating it does not help.',
  },
  'not-found': {
    status: 404,
    title: 'There is nothing here',
    page: 'No route has this path, or no operation that you may see has this id. A trailing slash makes another path.',
  },
  'method-not-allowed': {
    status: 405,
    title: 'The path does not take this method',
    page: 'The Allow header lists the methods this path takes.',
  },
  'body-timeout': {
    status: 408,
    title: 'The body did not arrive in time',
    page: 'The whole body must arrive within the time the gateway allows. The connection was closed; nothing was stored. Repeat the request.',
  },
  'operation-done': {
    status: 409,
    title: 'The operation has ended already',
    page: 'An operation that succeeded, failed or expired cannot be cancelled. Its resource tells how it ended.',
  },
  'idempotency-in-progress': {
    status: 409,
    title: 'A request with this Idempotency-Key is still being accepted',
    page: 'Another request with the same key has not ended yet. Repeat this one with the same key in a moment.',
  },
  'operation-gone': {
    status: 410,
    title: 'The operation is no longer kept',
    page: 'The operation ended and its retention has passed. Its result can no longer be read here.',
  },
  'body-too-large': {
    status: 413,
    title: 'The body is too large',
    page: 'The member maxBodyBytes tells the limit of this route. Nothing was stored.',
  },
  'unsupported-media-type': {
    status: 415,
    title: 'The body has a media type this route does not take',
    page: 'The Accept-Post header lists the media types taken. The charset must be UTF-8 or absent, and the content must not be encoded. Nothing was stored.',
  },
  'validation-failed': {
    status: 422,
    title: 'The request does not match its schema',
    page: 'The member errors lists up to 20 faults, each with a JSON Pointer to its place. Nothing was stored.',
  },
  'idempotency-key-reused': {
    status: 422,
    title: 'The Idempotency-Key was used for another request',
    page: 'A key belongs to one request: same method, path, query and body. Use a new key for a new request. The first request is untouched.',
  },
  'callback-url-refused': {
    status: 422,
    title: 'The callback URL is not allowed',
    page: 'Callbacks go to public https addresses only. Nothing was stored.',
  },
  'unknown-event': {
    status: 422,
    title: 'This type of event is not taken here',
    page: 'The route takes only the event types it declares. Nothing was published.',
  },
  'rate-limited': {
    status: 429,
    title: 'Too many requests',
    page: 'You have used up your quota. Repeat the request after the time in Retry-After. Nothing was stored.',
  },
  internal: {
    status: 500,
    title: 'Something went wrong here',
    page: 'The fault is on this side and has been logged. Nothing was stored. A repeat with the same Idempotency-Key is safe.',
  },
  overloaded: {
    status: 503,
    title: 'Too much work is waiting',
    page: 'The service protects itself and accepts no more for the moment. Repeat the request after the time in Retry-After. Nothing was stored.',
  },
  unavailable: {
    status: 503,
    title: 'The service cannot store requests at the moment',
    page: 'It is starting, stopping, or its storage is away or full. Repeat the request after the time in Retry-After, with the same Idempotency-Key, which makes the repeat safe.',
  },
  'too-many-streams': {
    status: 503,
    title: 'Too many event streams are open',
    page: 'Close a stream, or poll the operation. Repeat the request after the time in Retry-After.',
  },
  'operation-failed': {
    title: 'The operation failed',
    page: 'The work was accepted, tried as often as its policy says, and failed for good. It is kept as a dead letter, and an operator can have it tried again. Found in the error member of an operation.',
  },
  'operation-timed-out': {
    title: 'The operation did not end in time',
    page: 'The event that completes the operation did not come in the time set for it. Found in the error member of an operation.',
  },
} as const
// Checked here and not in the declaration, whose type must be readable off its text (`isolatedDeclarations`).
problemKinds satisfies Record<string, ProblemKind>

export type ProblemName = keyof typeof problemKinds

/** Problems that are answers, not members of an operation. */
export type AnswerProblem = Exclude<ProblemName, 'operation-failed' | 'operation-timed-out'>

/** `malformed-json` → `BUZZER_MALFORMED_JSON`. */
export function codeOf(name: ProblemName): `BUZZER_${string}` {
  return `BUZZER_${name.toUpperCase().replaceAll('-', '_')}`
}
