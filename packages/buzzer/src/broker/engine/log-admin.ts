import { BuzzerError } from '../../message/index.ts'
import {
  checkAlteration,
  checkPartitions,
  checkProducerName,
  checkStreamTopology,
  checkTrim,
  type GivenStreamOptions,
  logPosition,
  mergeStreamOptions,
  type OpenedProducer,
  resolveStreamOptions,
  type StreamDescription,
} from '../../transport/index.ts'
import { fromWireStream, type Request, toWireStream, type WireStream } from '../protocol/index.ts'
import type { Core } from './core.ts'
import { forgetSoon, moveFirst } from './log-keeping.ts'
import { wakeReads } from './log-reads.ts'
import { LogPartition, LogStream } from './log-state.ts'
import { packOptions } from './logs.ts'

type LogRequest = Exclude<Extract<Request, { call: `log-${string}` }>, { call: 'log-read' | 'log-unread' }>

/** Answers a request about streams that is not a read. */
export function administerLog(core: Core, request: LogRequest): unknown {
  switch (request.call) {
    case 'log-declare':
      return declare(core, request.streams.map(fromWireStream), request.onConflict)
    case 'log-producer':
      return openProducer(core, request.stream, request.name)
    case 'log-describe':
      return describe(core, request.stream)
    case 'log-trim':
      return trim(core, request.stream, request.partition, request.before)
    case 'log-add-partitions':
      return addPartitions(core, request.stream, request.partitions)
    case 'log-alter':
      return alter(core, request.stream, fromWireStream(request.options))
    case 'log-delete':
      return deleteStream(core, request.stream)
    default:
      request satisfies never
      throw new BuzzerError('BUZZER_UNSUPPORTED', "the broker's owner does not know that call; update it", {
        details: { request },
      })
  }
}

/** One step: everything is judged before anything is changed. */
function declare(
  core: Core,
  topologies: readonly (GivenStreamOptions & { readonly name: string })[],
  onConflict: 'refuse' | 'update',
): null {
  const wanted = new Map<string, GivenStreamOptions>()
  for (const topology of topologies) {
    checkStreamTopology(topology)
    const { name, ...given } = topology
    const known = wanted.get(name) ?? core.logs.streams.get(name)?.given
    wanted.set(name, known === undefined ? given : mergeStreamOptions(name, known, given, onConflict))
  }
  for (const [name, given] of wanted) {
    const known = core.logs.streams.get(name)
    if (known === undefined) createStream(core, name, given)
    else configure(core, known, given)
  }
  return null
}

function createStream(core: Core, name: string, given: GivenStreamOptions): void {
  core.file.begin()
  // Stored as made: a later default of another version changes no stream.
  const { partitions, keyIndex } = resolveStreamOptions(given)
  const made = { ...given, partitions, keyIndex }
  const stream = new LogStream(core.logs.store.insertStream(name, packOptions(made)), name, made)
  core.logs.add(stream)
  growPartitions(core, stream)
}

function configure(core: Core, stream: LogStream, given: GivenStreamOptions): void {
  const text = packOptions(given)
  if (text === packOptions(stream.given)) return
  core.file.begin()
  core.logs.store.updateStream(stream.id, text)
  stream.configure(given)
  growPartitions(core, stream)
  forgetSoon(core)
}

function growPartitions(core: Core, stream: LogStream): void {
  for (let partition = stream.partitions.length; partition < stream.options.partitions; partition++) {
    const made = new LogPartition(stream, { partition, first: 1, next: 1, lastTime: 0, bytes: 0 })
    stream.partitions.push(made)
    core.logs.store.putPartition(made.row)
  }
}

function openProducer(core: Core, name: string, producer: string): OpenedProducer {
  checkProducerName(producer)
  const stream = core.logs.stream(name)
  const known = core.logs.notes.producer(stream.id, producer)
  const opened = { epoch: (known?.epoch ?? 0) + 1, lastSequence: known?.lastSequence ?? 0 }
  core.file.begin()
  core.logs.notes.putProducer(stream.id, producer, opened.epoch, opened.lastSequence)
  return opened
}

/** A description as it crosses a frame. */
export interface WireDescription {
  readonly streams: readonly (Omit<StreamDescription, 'options'> & {
    readonly options: WireStream<GivenStreamOptions>
  })[]
}

function describe(core: Core, name: string | undefined): WireDescription {
  // The places of this commit's own records are looked up as well.
  core.writeLogs()
  const streams = name === undefined ? [...core.logs.streams.values()] : [core.logs.stream(name)]
  return {
    streams: streams
      .toSorted((left, right) => (left.name < right.name ? -1 : 1))
      .map(stream => ({
        name: stream.name,
        options: toWireStream<GivenStreamOptions>(stream.options),
        partitions: stream.partitions.map(({ partition, first, next, bytes, lastTime }) => ({
          partition,
          first,
          end: next,
          bytes,
          ...(first === next ? {} : { firstTime: firstTime(core, stream, partition, first) ?? lastTime, lastTime }),
        })),
      })),
  }
}

function firstTime(core: Core, stream: LogStream, partition: number, first: number): number | undefined {
  return core.logs.store.placeFrom(stream.id, partition, first)?.lastTime
}

function trim(core: Core, name: string, number: number, before: number): { readonly first: number } {
  core.writeLogs()
  const partition = core.logs.partition(name, number)
  checkTrim(before)
  if (before > partition.next) throw logPosition(name, number, before, partition.next)
  const { id } = partition.stream
  // The chunk that holds `before`, and when that is the end the newest: either stays.
  const place = core.logs.store.placeAt(id, number, Math.min(before, partition.next - 1))
  if (place !== undefined)
    moveFirst(core, partition, place.last < before && before < partition.next ? before : place.first)
  return { first: partition.first }
}

function addPartitions(core: Core, name: string, partitions: number): null {
  const stream = core.logs.stream(name)
  checkPartitions(partitions)
  const present = stream.options.partitions
  if (partitions <= present) {
    throw new BuzzerError(
      'BUZZER_INVALID_OPTION',
      `stream ${name} has ${present} partitions; they can only be added, not become ${partitions}`,
      { details: { option: 'partitions', value: partitions, stream: name, partitions: present } },
    )
  }
  configure(core, stream, { ...stream.given, partitions })
  return null
}

function alter(core: Core, name: string, options: GivenStreamOptions): null {
  const stream = core.logs.stream(name)
  checkAlteration(options)
  configure(core, stream, mergeStreamOptions(name, stream.given, options, 'update'))
  return null
}

function deleteStream(core: Core, name: string): null {
  core.writeLogs()
  const stream = core.logs.stream(name)
  core.file.begin()
  core.logs.store.deleteStream(stream.id)
  core.logs.notes.forgetStream(stream.id)
  core.logs.remove(stream)
  for (const { partition, bytes } of stream.partitions) {
    core.liveBytes -= bytes
    core.logs.rubbish.set(`${stream.id}/${partition}`, { stream: stream.id, partition })
    wakeReads(core, name, partition)
  }
  return null
}
