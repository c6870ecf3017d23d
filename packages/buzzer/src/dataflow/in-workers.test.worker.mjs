// Runs in the worker threads of the tests of in-workers.ts.
import { threadId } from 'node:worker_threads'

export default function square(item) {
  if (item === 'die') process.exit(3)
  if (item === 'throw') throw new RangeError('thrown in a thread')
  return item * item
}

export async function whoAmI() {
  return threadId
}
