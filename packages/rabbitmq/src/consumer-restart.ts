import { BuzzerError, isBuzzerError } from 'buzzer'
import { mostCancels, type ReceiverHost } from './receiver.ts'

/**
 * The server cancelled a consumer: the queue is gone, its leader moved, or an operator did it. Declares the queue again if
 * it is ours, and consumes again. Answers why that is over.
 */
export async function restartConsumer(
  queue: string,
  cancels: number,
  consumer: { reopen(): Promise<void> },
  host: ReceiverHost,
): Promise<BuzzerError | undefined> {
  const over = (why: string, cause?: unknown): BuzzerError =>
    new BuzzerError('BUZZER_QUEUE_NOT_FOUND', `the receiver of queue ${queue} has ended: ${why}`, {
      cause,
      details: { queue },
    })
  if (cancels > mostCancels) return over(`the server cancelled it ${cancels} times`)
  try {
    if (await host.restoreQueue(queue)) host.logger.warn({ queue }, 'the queue was gone and has been declared again')
    await consumer.reopen()
    return undefined
  } catch (error) {
    // Without a connection its return begins again.
    if (isBuzzerError(error) && error.code === 'BUZZER_DISCONNECTED') return undefined
    return over('the queue was deleted, and it is not ours to declare', error)
  }
}
