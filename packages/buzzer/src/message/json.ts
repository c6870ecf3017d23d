/** What JSON can carry. */
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue | undefined }
export type JsonObject = { readonly [name: string]: JsonValue | undefined }

type Foreign = Date | Map<unknown, unknown> | Set<unknown> | bigint | symbol | ((...args: never[]) => unknown)

type IsAny<T> = 0 extends 1 & T ? true : false

/**
 * The path of the first property of `T` that would not survive JSON, or `never`. `unknown` and `any` pass: there is
 * nothing to see. Recursion stops after eight levels, so recursive types pass too.
 */
export type NotJson<T, Path extends string = '', Depth extends readonly unknown[] = []> =
  IsAny<T> extends true
    ? never
    : Depth['length'] extends 8
      ? never
      : T extends Foreign
        ? Path extends ''
          ? '(the message itself)'
          : Path
        : T extends string | number | boolean | null | undefined
          ? never
          : T extends readonly (infer Item)[]
            ? NotJson<Item, `${Path}[]`, [...Depth, 0]>
            : T extends object
              ? {
                  [K in keyof T & (string | number)]-?: NotJson<
                    T[K],
                    Path extends '' ? `${K}` : `${Path}.${K}`,
                    [...Depth, 0]
                  >
                }[keyof T & (string | number)]
              : never
