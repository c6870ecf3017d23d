/** Takes the owner lock at the path given, says whether it has it, and keeps it until it is killed. */
import { OwnerLock } from '../../src/broker/process/owner-lock.ts'

const lock = new OwnerLock(process.argv[2] as string)
process.send?.(lock.tryTake({ token: 'child', pid: process.pid, address: '/run/child' }))
setInterval(() => {
  if (!lock.held) process.exit(1)
}, 1000)
