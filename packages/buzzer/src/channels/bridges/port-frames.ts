import type { MessagePort } from 'node:worker_threads'

/**
 * What two threads say over a `MessagePort`. The two directions never read each other's frames, so one port can carry a
 * `fromPort` and a `toPort` at each end.
 */
export type WriterFrame =
  | { readonly buzzer: 'items'; readonly items: readonly unknown[] }
  | { readonly buzzer: 'end'; readonly error?: unknown }
export type ReaderFrame =
  | { readonly buzzer: 'credit'; readonly items: number }
  /** The reader lets go. */
  | { readonly buzzer: 'stop' }

export function isFrame<F extends WriterFrame | ReaderFrame>(
  message: unknown,
  ...kinds: readonly F['buzzer'][]
): message is F {
  const kind = typeof message === 'object' && message !== null ? (message as { buzzer?: unknown }).buzzer : undefined
  return kinds.some(each => each === kind)
}

export function post(port: MessagePort, frame: WriterFrame | ReaderFrame): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port, not a window
  port.postMessage(frame)
}
