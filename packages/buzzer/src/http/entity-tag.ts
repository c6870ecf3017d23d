/** The tag of an operation at a version. */
export function entityTag(version: number): string {
  return `"${version}"`
}

/** Whether `If-None-Match` names the tag, by weak comparison (RFC 9110, 13.1.2). */
export function isNoneMatch(header: string | null, tag: string): boolean {
  if (header === null) return false
  return header.split(',').some(one => {
    const given = one.trim()
    return given === '*' || given.replace(/^W\//, '') === tag
  })
}
