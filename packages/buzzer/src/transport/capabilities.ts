/** What a transport can do by itself: values with limits, not booleans. What is absent the core emulates or refuses. */
export interface Capabilities {
  /** Longest delay of a message. 0: none; `Infinity`: any. */
  readonly delayMaxMs: number
  readonly deadLetter: 'native' | 'none'
  /** The strongest order kept; it includes the weaker ones. */
  readonly ordering: 'none' | 'queue' | 'key'
  /** `caller` includes `settle-and-send`. */
  readonly transactions: 'none' | 'settle-and-send' | 'caller'
  readonly redelivery: 'counted' | 'uncounted' | 'in-place'
  readonly deduplication: 'native' | 'none'
  readonly replay: boolean
  readonly maxMessageBytes: number
  readonly ttl: 'native' | 'none'
  /** Number of priorities told apart; 1 means none. */
  readonly priorities: number
  readonly mandatory: 'native' | 'none'
  readonly cancel: 'native' | 'none'
  /** Queues of one instance that vanish with it; requests need them. */
  readonly temporaryQueues: 'native' | 'none'
}

/** What a transport that says nothing can do. A new capability is added with its weakest value, so no transport breaks. */
export const weakestCapabilities: Capabilities = Object.freeze({
  delayMaxMs: 0,
  deadLetter: 'none',
  ordering: 'none',
  transactions: 'none',
  redelivery: 'uncounted',
  deduplication: 'none',
  replay: false,
  maxMessageBytes: 64 * 1024,
  ttl: 'none',
  priorities: 1,
  mandatory: 'none',
  cancel: 'none',
  temporaryQueues: 'none',
})
