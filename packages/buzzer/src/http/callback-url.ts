import { isIP } from 'node:net'
import { isPublicAddress } from './public-address.ts'

/** Origins (or a judgement of URLs) to which the rules of scheme and address do not apply. */
export type AllowedCallbacks = readonly string[] | ((url: URL) => boolean)

export function isAllowed(url: URL, allow: AllowedCallbacks | undefined): boolean {
  if (allow === undefined) return false
  return typeof allow === 'function' ? allow(url) : allow.includes(url.origin)
}

/** The literal address of a URL's host, `undefined` for a name. WHATWG URLs bring decimal, octal and hex spellings here. */
export function literalAddress(url: URL): string | undefined {
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  return isIP(host) === 0 ? undefined : host
}

/** The URL, or why a callback must not go there. What a name resolves to is judged at each attempt. Source: spec http 6. */
export function readCallbackUrl(given: unknown, allow: AllowedCallbacks | undefined): URL | string {
  if (typeof given !== 'string') return 'the callback URL is not a string'
  const url = URL.parse(given)
  if (url === null) return 'the callback URL is not an absolute URL'
  if (url.username !== '' || url.password !== '') return 'the callback URL carries user information'
  if (url.port !== '' && Number(url.port) < 1024) return 'the callback URL has a port below 1024'
  if (isAllowed(url, allow)) return /^https?:$/.test(url.protocol) ? url : 'the callback URL is neither https nor http'
  if (url.protocol !== 'https:') return 'the callback URL is not https'
  const host = url.hostname.replace(/\.$/, '')
  if (host === 'localhost' || host.endsWith('.localhost')) return 'the callback URL leads to this machine'
  const address = literalAddress(url)
  if (address !== undefined && !isPublicAddress(address))
    return 'the callback URL leads to an address that is not public'
  return url
}
