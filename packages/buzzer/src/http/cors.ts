import type { CorsOptions } from './gateway-options.ts'

const exposed = 'Location, Retry-After, ETag, Preference-Applied, Link, Idempotency-Replayed'
const allowed = 'Content-Type, Authorization, Idempotency-Key, Prefer, Last-Event-ID, traceparent, tracestate'

/** Cross-origin access for listed origins; never `*`. Source: spec http 5.12, the Fetch standard. */
export class Cors {
  readonly #options: CorsOptions | undefined

  constructor(options: CorsOptions | undefined) {
    this.#options = options
  }

  /** The answer to a preflight, before authentication; `undefined` for any other request. */
  preflight(request: Request, methods: readonly string[]): Response | undefined {
    const asked = request.headers.get('access-control-request-method')
    if (this.#options === undefined || request.method !== 'OPTIONS' || asked === null) return undefined
    if (!this.#isListed(request)) return new Response(null, { status: 204 })
    const { maxAgeS } = this.#options
    return new Response(null, {
      status: 204,
      headers: {
        'Access-Control-Allow-Methods': methods.join(', '),
        'Access-Control-Allow-Headers': allowed,
        ...(maxAgeS === undefined ? {} : { 'Access-Control-Max-Age': String(maxAgeS) }),
      },
    })
  }

  /** Adds what every answer carries. */
  apply(request: Request, headers: Headers): void {
    if (this.#options === undefined) return
    headers.append('Vary', 'Origin')
    if (!this.#isListed(request)) return
    headers.set('Access-Control-Allow-Origin', request.headers.get('origin') as string)
    headers.set('Access-Control-Expose-Headers', exposed)
    if (this.#options.credentials) headers.set('Access-Control-Allow-Credentials', 'true')
  }

  #isListed(request: Request): boolean {
    const origin = request.headers.get('origin')
    return origin !== null && (this.#options?.origins.includes(origin) ?? false)
  }
}
