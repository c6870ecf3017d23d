import type { Codec } from './codec.ts'
import { BuzzerError } from './errors.ts'
import type { JsonValue, NotJson } from './json.ts'
import { json } from './codec.ts'
import { checkName, wireType } from './names.ts'
import type { SchemaInput, SchemaOutput, StandardSchema } from './standard-schema.ts'

/** What all contracts have. `I` is what a sender gives and what travels, `O` what a handler sees. Immutable. */
export interface ContractShape<I, O> {
  readonly name: string
  readonly version: number
  /** The wire type: `name`, from version 2 on `name.v2`. */
  readonly type: string
  readonly schema: StandardSchema | undefined
  readonly codec: Codec
  readonly key: ((message: I) => string | undefined) | undefined
  readonly correlationId: ((message: I) => string | undefined) | undefined
  readonly upcasts: readonly Upcast<unknown>[]
  /** Types only, never present: a contract is contravariant in its input and covariant in its output. */
  readonly '~in'?: (message: I) => void
  readonly '~out'?: O
}

/** Something that happened; every queue bound to it gets a copy. Published, never sent. */
export interface EventContract<I, O = I> extends ContractShape<I, O> {
  readonly kind: 'event'
  /** Declared base events, nearest first, the bases of bases included. */
  readonly bases: readonly AnyEventContract[]
}

/** Something to be done by exactly one queue. Sent, never published. */
export interface CommandContract<I, O = I> extends ContractShape<I, O> {
  readonly kind: 'command'
  readonly queue: string | undefined
}

/** A question with an answer. `Given` is what a handler returns, `Received` what the asking side gets. */
export interface RequestContract<I, O = I, Given = unknown, Received = Given> extends ContractShape<I, O> {
  readonly kind: 'request'
  readonly queue: string | undefined
  /** One answer: `{ single }`; several, told apart by name: `{ several }`. */
  readonly answer:
    | { readonly as: 'single'; readonly schema: StandardSchema | undefined }
    | { readonly as: 'several'; readonly schemas: Readonly<Record<string, StandardSchema>> }
  readonly '~given'?: (answer: Given) => void
  readonly '~received'?: Received
}

/** A request whose answers are told apart by `as`. */
export interface SeveralRequestContract<I, O, R extends Record<string, StandardSchema>>
  extends RequestContract<I, O, SeveralIn<R>, SeveralOut<R>> {
  readonly answer: { readonly as: 'several'; readonly schemas: Readonly<R> }
}

export type AnyEventContract = EventContract<never, unknown>
export type AnyCommandContract = CommandContract<never, unknown>
export type AnyRequestContract = RequestContract<never, unknown, never, unknown>
export type AnyContract = AnyEventContract | AnyCommandContract | AnyRequestContract

/** Input of a schema or contract: what a sender gives. */
export type In<T> = T extends ContractShape<infer I, unknown> ? I : T extends StandardSchema ? SchemaInput<T> : never
/** Output of a schema or contract: what a handler sees. */
export type Out<T> = T extends ContractShape<never, infer O> ? O : T extends StandardSchema ? SchemaOutput<T> : never
/** What a request resolves to. */
export type Answer<C> = C extends RequestContract<never, unknown, never, infer Received> ? Received : never
/** What a handler of `C` returns: the answer of a request, optionally the operation's result for a command, nothing for an event. */
export type AnswerOf<C> =
  C extends RequestContract<never, unknown, infer Given, unknown>
    ? Given
    : C extends AnyCommandContract
      ? JsonValue | void
      : void

/** Lets a handler of the new contract take messages of an old one. Made by `upcast`. */
export interface Upcast<I> {
  readonly from: AnyContract
  readonly convert: (old: never) => I
}

/** `upcast(OldContract, old => message)`: `convert` gets the old contract's output and gives the new contract's input. */
export function upcast<C extends AnyContract, I>(from: C, convert: (old: Out<C>) => I): Upcast<I> {
  return { from, convert: convert }
}

export interface ContractOptions<M> {
  /** Integer ≥ 1. Default 1. */
  version?: number
  /** Ordering and partition key, 1–128 characters. Default: none. */
  key?: (message: M) => string | undefined
  /** The business id of the flow. Default: inherited from the message being handled. */
  correlationId?: (message: M) => string | undefined
  /** Default: JSON. */
  codec?: Codec
  /** Old versions that a handler of this contract also takes. Default: none. */
  upcast?: readonly Upcast<M>[]
}

export interface EventOptions<M> extends ContractOptions<M> {
  /** Declared base events: whoever handles a base also gets this event. The payload must be assignable to each base. */
  extends?: readonly EventContract<M, unknown>[]
}

export interface CommandOptions<M> extends ContractOptions<M> {
  /** The queue that handles it. Default: found by who handles it. */
  queue?: string
}

/** Resolves to `Then` when JSON can carry `T`, else to a type that nothing fits and that names the property. */
export type IfJson<T, Then> = [NotJson<T>] extends [never]
  ? Then
  : { readonly 'this property would not survive JSON; give the contract a codec, or another type': NotJson<T> }

/**
 * Defines an event. `defineEvent(name, schema, options?)` infers the payload from any Standard Schema;
 * `defineEvent<T>(name, options?)` takes it from the type parameter and validates nothing.
 * @throws BUZZER_INVALID_NAME, BUZZER_INVALID_OPTION
 */
export function defineEvent<S extends StandardSchema>(
  name: string,
  schema: S,
  options: EventOptions<SchemaInput<S>> & { codec: Codec },
): EventContract<SchemaInput<S>, SchemaOutput<S>>
export function defineEvent<S extends StandardSchema>(
  name: string,
  schema: S & IfJson<SchemaInput<S>, unknown>,
  options?: EventOptions<SchemaInput<S>>,
): EventContract<SchemaInput<S>, SchemaOutput<S>>
export function defineEvent<T>(name: string, options: EventOptions<T> & { codec: Codec }): EventContract<T, T>
export function defineEvent<T>(name: IfJson<T, string>, options?: EventOptions<T>): EventContract<T, T>
export function defineEvent(name: unknown, ...rest: unknown[]): EventContract<never, unknown> {
  const { schema, options: given } = split(rest)
  const options = given as EventOptions<never>
  const bases: AnyEventContract[] = []
  for (const base of options.extends ?? []) {
    if ((base as AnyContract)?.kind !== 'event') {
      throw new BuzzerError(
        'BUZZER_INVALID_OPTION',
        `option extends of event ${String(name)} takes event contracts only`,
      )
    }
    for (const one of [base, ...base.bases]) if (!bases.includes(one)) bases.push(one)
  }
  return Object.freeze({ kind: 'event' as const, ...shape(name, schema, options), bases: Object.freeze(bases) })
}

/** Defines a command; the two shapes of `defineEvent`. @throws BUZZER_INVALID_NAME, BUZZER_INVALID_OPTION */
export function defineCommand<S extends StandardSchema>(
  name: string,
  schema: S,
  options: CommandOptions<SchemaInput<S>> & { codec: Codec },
): CommandContract<SchemaInput<S>, SchemaOutput<S>>
export function defineCommand<S extends StandardSchema>(
  name: string,
  schema: S & IfJson<SchemaInput<S>, unknown>,
  options?: CommandOptions<SchemaInput<S>>,
): CommandContract<SchemaInput<S>, SchemaOutput<S>>
export function defineCommand<T>(name: string, options: CommandOptions<T> & { codec: Codec }): CommandContract<T, T>
export function defineCommand<T>(name: IfJson<T, string>, options?: CommandOptions<T>): CommandContract<T, T>
export function defineCommand(name: unknown, ...rest: unknown[]): CommandContract<never, unknown> {
  const { schema, options: given } = split(rest)
  const options = given as CommandOptions<never>
  return Object.freeze({ kind: 'command' as const, ...shape(name, schema, options), queue: queueOf(options) })
}

/** What the handler of a request with several answers returns. */
export type SeveralIn<R extends Record<string, StandardSchema>> = {
  [K in keyof R & string]: { as: K; value: SchemaInput<R[K]> }
}[keyof R & string]
/** What a request with several answers resolves to. */
export type SeveralOut<R extends Record<string, StandardSchema>> = {
  [K in keyof R & string]: { as: K; value: SchemaOutput<R[K]> }
}[keyof R & string]

/**
 * Defines a request: one answer by `{ request, response }`, several told apart by `as` with `{ request, responses }`,
 * or `defineRequest<Question, Answer>(name)` without schemas.
 * @throws BUZZER_INVALID_NAME, BUZZER_INVALID_OPTION
 */
export function defineRequest<S extends StandardSchema, R extends StandardSchema>(
  name: string,
  schemas: { request: S & IfJson<SchemaInput<S>, unknown>; response: R & IfJson<SchemaInput<R>, unknown> },
  options?: CommandOptions<SchemaInput<S>>,
): RequestContract<SchemaInput<S>, SchemaOutput<S>, SchemaInput<R>, SchemaOutput<R>>
export function defineRequest<S extends StandardSchema, R extends Record<string, StandardSchema>>(
  name: string,
  schemas: { request: S & IfJson<SchemaInput<S>, unknown>; responses: R },
  options?: CommandOptions<SchemaInput<S>>,
): SeveralRequestContract<SchemaInput<S>, SchemaOutput<S>, R>
export function defineRequest<Question, Reply>(
  name: IfJson<Question, string>,
  options?: CommandOptions<Question>,
): RequestContract<Question, Question, Reply, Reply>
export function defineRequest(name: unknown, ...rest: unknown[]): RequestContract<never, unknown, never, unknown> {
  const first = rest[0] as { request?: unknown; response?: unknown; responses?: unknown } | undefined
  const withSchemas = first !== undefined && first !== null && 'request' in first
  const schemas = withSchemas
    ? (first as { request: StandardSchema; response?: StandardSchema; responses?: Record<string, StandardSchema> })
    : undefined
  const options = ((withSchemas ? rest[1] : rest[0]) ?? {}) as CommandOptions<never>
  for (const schema of [
    ...(schemas ? [schemas.request] : []),
    ...(schemas?.response ? [schemas.response] : []),
    ...Object.values(schemas?.responses ?? {}),
  ]) {
    checkSchema(name, schema)
  }
  const answer = schemas?.responses
    ? { as: 'several' as const, schemas: Object.freeze({ ...schemas.responses }) }
    : { as: 'single' as const, schema: schemas?.response }
  return Object.freeze({
    kind: 'request' as const,
    ...shape(name, schemas?.request, options),
    queue: queueOf(options),
    answer: Object.freeze(answer),
  })
}

function split(rest: readonly unknown[]): { schema: StandardSchema | undefined; options: unknown } {
  const isSchema = typeof (rest[0] as StandardSchema | undefined)?.['~standard'] === 'object'
  return isSchema
    ? { schema: rest[0] as StandardSchema, options: rest[1] ?? {} }
    : { schema: undefined, options: rest[0] ?? {} }
}

function shape(name: unknown, schema: StandardSchema | undefined, options: ContractOptions<never>) {
  const checked = checkName('contract', name as string)
  const version = options.version ?? 1
  if (!Number.isInteger(version) || version < 1) {
    throw new BuzzerError('BUZZER_INVALID_OPTION', `version ${String(version)} of ${checked} is not an integer ≥ 1`, {
      details: { option: 'version', value: version },
    })
  }
  if (schema !== undefined) checkSchema(checked, schema)
  for (const option of ['key', 'correlationId'] as const) {
    if (options[option] !== undefined && typeof options[option] !== 'function') {
      throw new BuzzerError('BUZZER_INVALID_OPTION', `option ${option} of ${checked} is not a function of the message`)
    }
  }
  return {
    name: checked,
    version,
    type: wireType(checked, version),
    schema,
    codec: options.codec ?? json,
    key: options.key,
    correlationId: options.correlationId,
    upcasts: Object.freeze([...(options.upcast ?? [])]),
  }
}

function checkSchema(name: unknown, schema: StandardSchema): void {
  if (typeof schema?.['~standard']?.validate !== 'function') {
    throw new BuzzerError(
      'BUZZER_INVALID_OPTION',
      `the schema of ${String(name)} is no Standard Schema (no '~standard')`,
    )
  }
}

function queueOf(options: CommandOptions<never>): string | undefined {
  return options.queue === undefined ? undefined : checkName('queue', options.queue)
}
