// Codes of the operating system such as EPIPE have the shape and are none.
const shape = /^(?!E[A-Z]{4})[0-9A-Z]{5}$/

/** The SQLSTATE of an error of `pg`, also when Drizzle, Kysely, Prisma or a BuzzerError has wrapped it. */
export function sqlStateOf(error: unknown): string | undefined {
  const seen = new Set<unknown>()
  for (let link = error; typeof link === 'object' && link !== null && !seen.has(link); ) {
    seen.add(link)
    // Prisma keeps the database's code in `meta`, beside one of its own of the same shape.
    const { code, meta, cause } = link as { code?: unknown; meta?: { code?: unknown }; cause?: unknown }
    const state = [meta?.code, code].find(one => typeof one === 'string' && shape.test(one))
    if (state !== undefined) return state as string
    link = cause
  }
  return undefined
}
