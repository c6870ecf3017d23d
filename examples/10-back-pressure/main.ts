import { setImmediate as turn } from 'node:timers/promises'
import { Channel } from 'buzzer/channels'
import { heapMegabytes } from './heap.ts'

const rows = 20_000
const row = (id: number): string => JSON.stringify({ id, text: 'x'.repeat(2_000) })

// Reads as fast as it can: a file, a socket, a database cursor.
async function produce({ writer }: Channel<string>): Promise<void> {
  for (let id = 0; id < rows; id++) await writer.write(row(id))
  writer.complete()
}

// Takes one row per turn of the event loop: a remote service, a disk, a rate limit.
async function consume({ reader }: Channel<string>): Promise<number> {
  let length = 0
  for await (const text of reader) {
    length += text.length
    await turn()
  }
  return length
}

async function measure(name: string, channel: Channel<string>): Promise<void> {
  const before = heapMegabytes()
  let waiting = 0
  let heap = 0
  let looked = 0
  const look = async (): Promise<void> => {
    while (!channel.reader.closed) {
      const { count, taken } = channel.stats()
      waiting = Math.max(waiting, count)
      // Collecting garbage takes time: a look every 2,000 rows is enough, and one at the fullest.
      if (taken >= looked) {
        looked = taken + 2_000
        heap = Math.max(heap, heapMegabytes() - before)
      }
      await turn()
    }
    waiting = Math.max(waiting, channel.stats().count)
    heap = Math.max(heap, heapMegabytes() - before)
  }
  const [length] = await Promise.all([consume(channel), produce(channel), look()])
  const megabytes = Math.max(0, Math.round(heap))
  console.log(`${name}: ${(length / 1e6).toFixed(0)} MB passed, ${waiting} rows waiting, heap ${megabytes} MB higher`)
}

await measure('unbounded   ', Channel.unbounded())
await measure('capacity 100', Channel.bounded(100))
