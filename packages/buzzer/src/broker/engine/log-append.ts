import { BuzzerError } from '../../message/index.ts'
import {
  type Appended,
  type PlannableBatch,
  type PlannedBatch,
  planAppend,
  recordTooLarge,
} from '../../transport/index.ts'
import {
  type AppendAnswer,
  type ByteReader,
  brokenFrame,
  ByteWriter,
  logRecordSize,
  readBatches,
  toWireError,
  type WireBatch,
  type WireError,
  writeAnswer,
  writeAppended,
} from '../protocol/index.ts'
import type { Core } from './core.ts'
import { checkBroker } from './enqueue.ts'
import { keyOf } from './log-state.ts'
import type { Session } from './session.ts'

/**
 * An append of a session: once, also when it is repeated after a reconnection. All its batches are judged before any is
 * stored, so a refusal leaves no trace but its answer, which is kept like any other.
 */
export function acceptAppend(
  core: Core,
  session: Session,
  sequence: number,
  answeredThrough: number,
  reader: ByteReader,
): void {
  session.appendsHeard = Math.max(session.appendsHeard, Math.min(answeredThrough, session.lastAppend))
  if (sequence <= session.lastAppend) return
  if (sequence !== session.lastAppend + 1) {
    throw brokenFrame(`append ${sequence} came behind ${session.lastAppend}`)
  }
  try {
    const batches = readBatches(reader)
    const plan = judge(core, reader.bytes, batches)
    answer(core, session, sequence, { answers: store(core, reader.bytes, batches, plan) })
  } catch (error) {
    if (!(error instanceof BuzzerError) || error.code === 'BUZZER_PROTOCOL_MISMATCH') throw error
    refuseAppend(core, session, sequence, toWireError(error))
  }
}

export function refuseAppend(core: Core, session: Session, sequence: number, error: WireError): void {
  if (sequence > session.lastAppend) answer(core, session, sequence, { error })
}

const answerWriter = new ByteWriter(256)

function answer(core: Core, session: Session, sequence: number, decided: AppendAnswer): void {
  session.lastAppend = sequence
  writeAnswer(answerWriter, decided)
  const bytes = answerWriter.peek()
  core.logs.keepAnswer(session, sequence, bytes)
  writeAppended(session.out, sequence, bytes)
  answerWriter.rewind(0)
}

function judge(core: Core, source: Buffer, batches: readonly WireBatch[]): readonly PlannedBatch[] {
  let bytes = 0
  for (const { stream, bounds } of batches) {
    for (let at = 0; at < bounds.length; at += 2) {
      const size = logRecordSize(source, bounds[at] as number, bounds[at + 1] as number)
      if (size > core.options.maxMessageBytes) throw recordTooLarge(stream, size, core.options.maxMessageBytes)
      bytes += size
    }
  }
  if (bytes > 0 || batches.length > 0) checkBroker(core, bytes)
  core.logs.now = core.now
  return planAppend(
    core.logs,
    batches.map(
      ({ bounds, ...head }): PlannableBatch => ({
        ...head,
        count: bounds.length / 2,
        key: index => keyOf(source, bounds, index),
      }),
    ),
  )
}

/** Stores what was judged. Nothing can refuse it any more. */
function store(core: Core, source: Buffer, batches: readonly WireBatch[], plan: readonly PlannedBatch[]): Appended[] {
  const { logs } = core
  const answers: Appended[] = []
  for (const [index, planned] of plan.entries()) {
    const batch = batches[index] as WireBatch
    if (planned.as === 'duplicate') {
      const earlier = planned.duplicateOf === undefined ? undefined : answers[planned.duplicateOf]
      answers.push(earlier === undefined ? { as: 'duplicate', ...planned.place } : { ...earlier, as: 'duplicate' })
      continue
    }
    core.file.begin()
    const { bounds, producer, deduplicationKey } = batch
    const partition = logs.partition(batch.stream, planned.partition)
    const { stream } = partition
    const time = partition.add(source, bounds, core.now)
    logs.dirty.add(partition)
    const place = { partition: planned.partition, position: planned.position, time }
    if (stream.options.keyIndex) {
      for (let at = 0; at < bounds.length / 2; at++) {
        const key = keyOf(source, bounds, at)
        if (key !== undefined) logs.notes.noteKey(stream.id, place.partition, key, place.position + at)
      }
    }
    if (deduplicationKey !== undefined) {
      logs.noteSeen(stream, deduplicationKey, place)
      stream.hasSeen = true
      core.agenda.forgetAt(core.monotonic + stream.options.deduplicationWindowMs)
    }
    if (producer !== undefined) {
      logs.notes.putProducer(stream.id, producer.name, producer.epoch, producer.sequence)
      logs.notes.noteProduced(stream.id, producer.name, producer.sequence, place)
      stream.produced.add(producer.name)
    }
    for (let at = 0; at < bounds.length; at += 2) core.liveBytes += (bounds[at + 1] as number) - (bounds[at] as number)
    answers.push({ as: 'stored', ...place })
  }
  return answers
}
