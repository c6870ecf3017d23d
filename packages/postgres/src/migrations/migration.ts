/** One step of the schema. Never changed once released: what is wrong with it is put right by a later one. */
export interface Migration {
  /** 1, 2, 3 … without gaps. */
  readonly number: number
  /** What it brings, in a few words. */
  readonly name: string
  /** Its statements, separated by semicolons. `schema` is the quoted name of the schema. */
  sql(schema: string): string
}
