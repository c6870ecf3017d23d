import { four, one, pingPong } from '../contenders/channels/awaited.ts'
import * as loops from '../contenders/channels/loops.ts'
import * as threads from '../contenders/channels/threads.ts'
import * as tries from '../contenders/channels/try-path.ts'
import type { RateCase, Suite } from '../suite.ts'

/** Capacity 1,024 unless said, numbers with a checked sum; rivals without back-pressure are gated every 1,024 items. */
function passing(bench: Omit<RateCase, 'measure' | 'operation'> & { operation?: string }): RateCase {
  return { operation: 'item passed', measure: 'per-cpu-second', ...bench }
}

export const suite: Suite = {
  title: 'Channels beside queues, streams and iterables',
  cases: [
    passing({
      name: 'try path',
      contenders: [tries.consume, tries.waitAndTry, tries.fastqQueued, tries.fastqInPush, tries.passThroughData],
      bars: [
        { ours: tries.consume.name, rival: tries.fastqQueued.name, atLeast: 2.5 },
        { ours: tries.waitAndTry.name, rival: tries.fastqQueued.name, atLeast: 2.5 },
        { ours: tries.consume.name, rival: tries.passThroughData.name, atLeast: 2.5 },
      ],
    }),
    passing({
      name: 'awaited',
      contenders: [one.buzzer, one.fastq, one.fastqOneByOne, one.effect, one.asyncQueue, one.pQueue, one.webRead],
      bars: [
        { ours: one.buzzer.name, rival: one.fastq.name, atLeast: 1.5 },
        { ours: one.buzzer.name, rival: one.effect.name, atLeast: 3 },
        { ours: one.buzzer.name, rival: one.asyncQueue.name, atLeast: 2 },
        { ours: one.buzzer.name, rival: one.pQueue.name, atLeast: 15 },
        { ours: one.buzzer.name, rival: one.webRead.name, atLeast: 2.5 },
      ],
    }),
    passing({
      name: 'for await',
      contenders: [
        loops.buzzer,
        loops.buzzerWithContext,
        loops.passThrough,
        loops.webTransform,
        loops.ixSink,
        loops.eventsOn,
        loops.generator,
        loops.rxConcatMap,
      ],
      bars: [
        { ours: loops.buzzer.name, rival: loops.passThrough.name, atLeast: 1.3 },
        { ours: loops.buzzer.name, rival: loops.webTransform.name, atLeast: 8 },
        { ours: loops.buzzer.name, rival: loops.ixSink.name, atLeast: 1 },
        { ours: loops.buzzer.name, rival: loops.eventsOn.name, atLeast: 1 },
        { ours: loops.buzzer.name, rival: loops.generator.name, atLeast: 0.8 },
        { ours: loops.buzzer.name, rival: loops.rxConcatMap.name, atLeast: 3 },
        { ours: loops.buzzerWithContext.name, rival: loops.buzzer.name, atLeast: 0.7 },
      ],
    }),
    passing({
      name: 'batches',
      contenders: [tries.batches, tries.consume, tries.effectTakeAll],
      bars: [
        { ours: tries.batches.name, rival: tries.effectTakeAll.name, atLeast: 8 },
        { ours: tries.batches.name, rival: tries.consume.name, atLeast: 0.7 },
      ],
    }),
    passing({
      name: 'four producers, four consumers, awaited',
      contenders: [four.buzzer, four.fastq, four.fastqOneByOne, four.effect, four.pQueue],
      bars: [
        { ours: four.buzzer.name, rival: four.fastq.name, atLeast: 2 },
        { ours: four.buzzer.name, rival: four.effect.name, atLeast: 6 },
        { ours: four.buzzer.name, rival: four.pQueue.name, atLeast: 20 },
      ],
    }),
    passing({
      name: 'ping-pong over two channels of capacity 1',
      operation: 'round trip',
      contenders: [pingPong.buzzer, pingPong.fastq, pingPong.effect, pingPong.web],
      bars: [
        { ours: pingPong.buzzer.name, rival: pingPong.fastq.name, atLeast: 0.8 },
        { ours: pingPong.buzzer.name, rival: pingPong.effect.name, atLeast: 12 },
        { ours: pingPong.buzzer.name, rival: pingPong.web.name, atLeast: 8 },
      ],
    }),
    passing({
      name: 'bursts of 1,024 tryWrite, 1,024 tryRead',
      contenders: [tries.burst, tries.denqueBurst, tries.arrayBurst],
      bars: [
        { ours: tries.burst.name, rival: tries.denqueBurst.name, atLeast: 0.6 },
        { ours: tries.burst.name, rival: tries.arrayBurst.name, atLeast: 2.5 },
      ],
    }),
    {
      name: 'between threads',
      operation: 'message of 100 bytes to a worker',
      measure: 'per-cpu-second',
      contenders: [threads.ringBytes, threads.ringText, threads.postBytes, threads.postString, threads.postArrays],
      bars: [
        { ours: threads.ringBytes.name, rival: threads.postBytes.name, atLeast: 10 },
        { ours: threads.ringBytes.name, rival: threads.postString.name, atLeast: 4 },
        { ours: threads.ringBytes.name, rival: threads.postArrays.name, atLeast: 1.2 },
      ],
    },
  ],
}
