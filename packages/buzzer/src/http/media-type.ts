import { Refusal } from './refusal.ts'

/** A media type with its charset parameter, in lower case. */
interface MediaType {
  readonly essence: string
  readonly charset?: string
}

const shape = /^[!#$%&'*+\-.^_`|~0-9a-z]+\/[!#$%&'*+\-.^_`|~0-9a-z]+$/
const jsonShape = /^application\/(?:json|[^;\s]+\+json)$/

/** `undefined` for a header that is none. */
function readMediaType(header: string | null): MediaType | undefined {
  if (header === null) return undefined
  const [first = '', ...parameters] = header.split(';')
  const essence = first.trim().toLowerCase()
  if (!shape.test(essence)) return undefined
  for (const parameter of parameters) {
    const [name = '', value = ''] = parameter.split('=')
    if (name.trim().toLowerCase() === 'charset') {
      return {
        essence,
        charset: value
          .trim()
          .replace(/^"(.*)"$/, '$1')
          .toLowerCase(),
      }
    }
  }
  return { essence }
}

/** `application/json` and `application/*+json`. */
export function isJson(essence: string): boolean {
  return jsonShape.test(essence)
}

/**
 * The media type of a request that has a body. Refuses what the route does not take, another charset than UTF-8, and any
 * content encoding. Source: spec http 5.11.
 */
export function checkMediaType(headers: Headers, parsers: readonly string[]): string {
  const encoding = headers.get('content-encoding')?.trim().toLowerCase() ?? 'identity'
  const accepted = ['application/json', 'application/*+json', ...parsers].join(', ')
  const refuse = (detail: string): Refusal =>
    new Refusal('unsupported-media-type', { detail, headers: { 'Accept-Post': accepted } })
  if (encoding !== 'identity' && encoding !== '') throw refuse(`Content-Encoding ${shown(encoding)} is not taken`)
  const given = headers.get('content-type')
  const type = readMediaType(given)
  if (type === undefined) {
    throw refuse(given === null ? 'The body has no Content-Type' : `${shown(given)} is not a media type`)
  }
  if (!isJson(type.essence) && !parsers.includes(type.essence)) throw refuse(`${shown(type.essence)} is not taken here`)
  if (type.charset !== undefined && type.charset !== 'utf-8' && type.charset !== 'utf8') {
    throw refuse(`charset ${shown(type.charset)} is not taken; use UTF-8`)
  }
  return type.essence
}

function shown(value: string): string {
  return JSON.stringify(value.length > 100 ? `${value.slice(0, 100)}…` : value)
}
