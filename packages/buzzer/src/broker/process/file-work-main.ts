/** A thread for one piece of work on the file: what runs in it from its first line. */
import { parentPort, workerData } from 'node:worker_threads'
import { toWireError } from '../protocol/index.ts'
import { doFileWork, type FileWork } from '../storage/file-work.ts'
import type { FileWorkAnswer } from './file-thread.ts'

function answer(work: FileWork): FileWorkAnswer {
  try {
    return { value: doFileWork(work) }
  } catch (error) {
    return { error: toWireError(error) }
  }
}

parentPort?.postMessage(answer(workerData as FileWork), [])
