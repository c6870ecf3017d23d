export { type EventOptions, fromEvent } from './bridges/from-event.ts'
export { fromIterable } from './bridges/from-iterable.ts'
export { fromPort } from './bridges/from-port.ts'
export { fromReadable } from './bridges/from-readable.ts'
export { fromWeb } from './bridges/from-web.ts'
export type { SourceOptions, SourceReader } from './bridges/source-reader.ts'
export { toPort } from './bridges/to-port.ts'
export { toWebWritable } from './bridges/to-web-writable.ts'
export { toWritable } from './bridges/to-writable.ts'
export { Channel, type ChannelFactory } from './channel.ts'
export type { Clock } from './clock.ts'
export type { Empty } from './empty.ts'
export { ChannelClosedError, ChannelPeerLostError, ChannelSideTakenError, ChannelSourceClosedError } from './errors.ts'
export { merge } from './merge.ts'
export type { ChannelEvent } from './observation.ts'
export type {
  BatchOptions,
  BoundedOptions,
  ChannelOptions,
  ChannelStats,
  ConsumeOptions,
  FullMode,
  PrioritizedOptions,
  RendezvousOptions,
  WaitOptions,
} from './options.ts'
export { ChannelReader } from './reader.ts'
export { type Selected, type SelectOptions, select } from './select.ts'
export { type TeeOptions, tee } from './tee.ts'
export type { Codec } from './threads/codec.ts'
export {
  createWorkerChannel,
  openWorkerChannel,
  type WorkerChannel,
  type WorkerChannelHandle,
  type WorkerChannelOptions,
} from './threads/worker-channel.ts'
export { ChannelWriter } from './writer.ts'
