/** The statements of the hot paths: a call each. The functions are those of the migration `queue functions`. */
export interface QueueStatements {
  readonly send: string
  readonly announce: string
  readonly claim: string
  readonly settle: string
  readonly lost: string
  readonly renew: string
  readonly maintain: string
  readonly cancel: string
}

export function queueStatements(quotedSchema: string): QueueStatements {
  return {
    send: `select ${quotedSchema}.send($1::text::uuid, $2::bigint, $3::bigint, $4::text::json, $5::bytea, $6::text::integer[], $7::boolean, $8::text::integer[], $9::text::integer[], $10::text::json, $11::text::integer[], $12::text::double precision)::text as answer`,
    announce: `select ${quotedSchema}.announce($1::text::json, $2::text::integer[], $3::text::integer[], $4::text::json)::text as done`,
    claim: `select head, data from ${quotedSchema}.claim($1::uuid, $2::integer, $3::integer, $4::integer, $5::bigint, $6::double precision, $7::boolean, $8::boolean, $9::bigint)`,
    settle: `select ${quotedSchema}.settle($1::uuid, $2::bigint, $3::bigint, $4::boolean, $5::json, $6::json, $7::bytea, $8::integer[], $9::boolean, $10::integer[], $11::integer[], $12::json)::text as answer`,
    lost: `select ${quotedSchema}.lost($1::json)::text as answer`,
    renew: `select ${quotedSchema}.renew($1::uuid, $2::json, $3::double precision, $4::json)::text as answer`,
    maintain: `select ${quotedSchema}.maintain($1::double precision) as is_topology_changed`,
    cancel: `select ${quotedSchema}.cancel($1::text[])::integer as count`,
  }
}

/** Numbers as the text of an array, which every library passes on as it is. */
export function numberArray(numbers: Iterable<number>): string | null {
  const list = [...numbers]
  return list.length === 0 ? null : `{${list.join(',')}}`
}
