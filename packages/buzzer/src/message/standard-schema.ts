/**
 * Standard Schema 1.1, as types (https://standardschema.dev): the interface that zod, valibot, arktype and others share.
 * Declared here because the specification invites copying it, and a dependency would bind users to its version.
 */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown, ...rest: never[]) => StandardResult<Output> | Promise<StandardResult<Output>>
    readonly types?: { readonly input: Input; readonly output: Output } | undefined
    /** Standard JSON Schema: zod and arktype have it. */
    readonly jsonSchema?:
      | {
          readonly input: (options: { target: string }) => Record<string, unknown>
          readonly output: (options: { target: string }) => Record<string, unknown>
        }
      | undefined
  }
}

export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] }

export interface StandardIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

export type SchemaInput<S extends StandardSchema> = NonNullable<S['~standard']['types']>['input']
export type SchemaOutput<S extends StandardSchema> = NonNullable<S['~standard']['types']>['output']
