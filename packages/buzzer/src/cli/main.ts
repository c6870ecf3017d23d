// The command itself, started by bin/buzzer.js once the Node is known to be new enough.
import { userInfo } from 'node:os'
import { systemClock } from '../message/index.ts'
import { runCommand } from './run-command.ts'

// A reader that has seen enough (`buzzer queues | head`) closes the pipe; that is no error.
process.stdout.on('error', error => {
  if ((error as NodeJS.ErrnoException).code === 'EPIPE') process.exit(0)
  throw error
})
const interrupt = new AbortController()
process.once('SIGINT', () => interrupt.abort())

// A client that waits for an owner holds nothing that keeps a process alive; the command waits all the same.
const waiting = setInterval(() => undefined, 60_000)
process.exitCode = await runCommand(process.argv.slice(2), {
  write: text => process.stdout.write(text),
  complain: text => process.stderr.write(text),
  isTerminal: process.stdout.isTTY,
  isInteractive: process.stdin.isTTY && process.stderr.isTTY,
  columns: process.stdout.columns || 120,
  environment: process.env,
  directory: process.cwd(),
  user: userInfo().username,
  now: () => systemClock.now(),
  signal: interrupt.signal,
})
clearInterval(waiting)
