import { defineCommand, defineEvent } from 'buzzer'

/** What the processes of these tests share. */
export const Work = defineCommand<{ n: number; holdMs?: number; as?: 'fail' | 'wait-for-cancel' | 'progress' }>(
  'jobs.work',
  {
    queue: 'work',
  },
)
export const Finished = defineEvent<{ n: number }>('jobs.finished')
