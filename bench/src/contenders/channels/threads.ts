import { once } from 'node:events'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import type { WorkerChannelHandle } from 'buzzer/channels'
import type { Contender, Trial } from '../../suite.ts'

// Messages of 100 bytes from this thread to a worker, which counts them and their bytes. CPU time is of both threads.
const bytes = 100
const perPost = 64
const inFlight = 1_024

// oxlint-disable unicorn/require-post-message-target-origin -- ports and workers, not windows
// oxlint-disable no-unmodified-loop-condition -- acknowledgements come by events

type Style = 'ring bytes' | 'ring text' | 'post bytes' | 'post string' | 'post arrays'
interface Job {
  readonly style: Style
  readonly handle?: WorkerChannelHandle
}

type Payload = string | Uint8Array

function contender(side: 'ours' | 'rival', name: string, style: Style): Contender {
  return {
    name,
    side,
    setup: async () => (style.startsWith('ring') ? ringTrial(style) : postTrial(style)),
  }
}

function start(job: Job): Worker {
  return new Worker(new URL(import.meta.url), { workerData: job, execArgv: process.execArgv })
}

function check(counted: { items: number; size: number }, n: number): void {
  if (counted.items !== n || counted.size !== n * bytes) {
    throw new Error(`${counted.items} messages of ${counted.size} bytes arrived instead of ${n} of ${n * bytes}`)
  }
}

/** The bytes are read in place by a codec of our own, as a reader that keeps nothing does. */
const inPlace = {
  encode: (item: Uint8Array): Uint8Array => item,
  decode: (item: Uint8Array): Uint8Array => item,
}

async function ringTrial(style: Style): Promise<Trial> {
  const { createWorkerChannel } = await import('buzzer/channels')
  const text = style === 'ring text'
  const channel = createWorkerChannel<Payload>({ codec: (text ? 'text' : inPlace) as 'text' })
  const worker = start({ style, handle: channel.handle })
  channel.watch(worker)
  const item: Payload = text ? 'x'.repeat(bytes) : new Uint8Array(bytes).fill(120)
  return {
    async run(n) {
      const counted = once(worker, 'message')
      worker.postMessage(n)
      for (let sent = 0; sent < n; ) {
        if (channel.writer.tryWrite(item)) sent++
        else await channel.writer.waitToWrite()
      }
      check(((await counted) as [{ items: number; size: number }])[0], n)
    },
    async teardown() {
      await worker.terminate()
    },
  }
}

async function postTrial(style: Style): Promise<Trial> {
  const worker = start({ style })
  const text = 'x'.repeat(bytes)
  const each = style === 'post arrays' ? perPost : 1
  const post: unknown = style === 'post bytes' ? new Uint8Array(bytes).fill(120) : text
  const array = Array.from({ length: perPost }, () => text)
  return {
    async run(n) {
      let acknowledged = 0
      let wake: (() => void) | undefined
      let counted = { items: 0, size: 0 }
      const finished = new Promise<void>(resolve => {
        worker.on('message', (message: { items: number; size: number }) => {
          acknowledged = message.items
          counted = message
          wake?.()
          if (acknowledged === n) resolve()
        })
      })
      worker.postMessage(n)
      for (let sent = 0; sent < n; sent += each) {
        if (style === 'post arrays') worker.postMessage(n - sent < perPost ? array.slice(0, n - sent) : array)
        else worker.postMessage(post)
        while (sent - acknowledged > inFlight) await new Promise<void>(resolve => (wake = resolve))
      }
      await finished
      worker.removeAllListeners('message')
      check(counted, n)
    },
    async teardown() {
      await worker.terminate()
    },
  }
}

async function countRing({ style, handle }: Job): Promise<void> {
  const { Channel, openWorkerChannel } = await import('buzzer/channels')
  const codec = (style === 'ring text' ? 'text' : inPlace) as 'text'
  const { reader } = openWorkerChannel<Payload>(handle as WorkerChannelHandle, { codec })
  parentPort?.on('message', (n: number) => void count(n))

  async function count(n: number): Promise<void> {
    let items = 0
    let size = 0
    while (items < n && (await reader.waitToRead())) {
      for (let item = reader.tryRead(); item !== Channel.empty; item = reader.tryRead()) {
        items++
        size += item.length
      }
    }
    parentPort?.postMessage({ items, size })
  }
}

function countPosts(): void {
  let expected = 0
  let items = 0
  let size = 0
  parentPort?.on('message', (message: number | Payload | readonly string[]) => {
    if (typeof message === 'number') {
      expected = message
      items = size = 0
      return
    }
    const before = items
    if (Array.isArray(message)) {
      for (const item of message as readonly string[]) {
        items++
        size += item.length
      }
    } else {
      items++
      size += message.length
    }
    // Acknowledged every half window, so that the sender can be held back.
    const window = inFlight / 2
    if (items === expected || Math.floor(items / window) !== Math.floor(before / window)) {
      parentPort?.postMessage({ items, size })
    }
  })
}

if (!isMainThread && (workerData as Job | undefined)?.style !== undefined) {
  const job = workerData as Job
  if (job.handle === undefined) countPosts()
  else await countRing(job)
}

export const ringBytes = contender('ours', 'Buzzer worker channel, bytes in place', 'ring bytes')
export const ringText = contender('ours', 'Buzzer worker channel, text', 'ring text')
export const postBytes = contender('rival', 'postMessage of a Uint8Array', 'post bytes')
export const postString = contender('rival', 'postMessage of a string', 'post string')
export const postArrays = contender('rival', 'postMessage of 64 strings', 'post arrays')
