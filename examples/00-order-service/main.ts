// npm start: a web process and a worker process on one broker, and this supervisor that shows what happens when one dies.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { address, line } from './shop.ts'

/** What a child tells: it works; or somebody asked over HTTP for the worker's death or for the fix. */
type Told = { as: 'ready'; port?: number } | { as: 'kill-worker' } | { as: 'fix' }

/** How long the worker stays dead, so that one can see orders being accepted without it. */
const deadMs = Number(process.env['SHOP_DEAD_MS'] ?? 5_000)
const stopLimitMs = 15_000

let stopping = false
let fixed = 'no'

async function start(file: string): Promise<{ child: ChildProcess; port: number }> {
  const child = fork(new URL(file, import.meta.url), { env: { ...process.env, SHOP_FIXED: fixed } })
  const gone = once(child, 'exit').then(([code]) => {
    throw new Error(`${file} ended with ${code} before it was ready`)
  })
  gone.catch(() => undefined)
  const [told] = (await Promise.race([once(child, 'message'), gone])) as [{ port?: number }]
  return { child, port: told.port ?? 0 }
}

async function end(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  const limit = setTimeout(() => child.kill('SIGKILL'), stopLimitMs)
  await exited
  clearTimeout(limit)
}

let web: ChildProcess | undefined
let worker: ChildProcess | undefined

async function startWorker(): Promise<void> {
  const started = await start('./worker.ts')
  worker = started.child
  if (stopping) await end(worker)
  else line('main', `worker is up, process ${worker.pid}`)
}

async function killWorker(): Promise<void> {
  const victim = worker
  if (victim === undefined) return
  worker = undefined
  victim.kill('SIGKILL')
  line(
    'main',
    `worker ${victim.pid} KILLED; it comes back in ${deadMs / 1_000} s. Orders are accepted all the same: try`,
  )
  await sleep(deadMs)
  if (!stopping) await startWorker()
}

async function deployFix(): Promise<void> {
  const old = worker
  if (old === undefined) return
  worker = undefined
  fixed = 'yes'
  await end(old)
  if (!stopping) await startWorker()
  line('main', 'the fix is deployed: put the dead letters back with `npx buzzer dead-letters redrive orders --all`')
}

async function stop(): Promise<void> {
  if (stopping) return
  stopping = true
  line('main', 'draining …')
  await Promise.all([web, worker].map(end))
  line('main', 'stopped; what was accepted and not handled waits for the next start')
  process.exit(0)
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void stop())
// npm hands a signal to its shell, which dies of it and tells nobody: its death is the signal.
const shell = process.ppid
if (process.env['npm_lifecycle_event'] !== undefined)
  setInterval(() => process.ppid !== shell && void stop(), 100).unref()

function fail(error: unknown): void {
  if (stopping) return
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
  stopping = true
  void Promise.all([web, worker].map(end)).then(() => process.exit(1))
}

try {
  const startedWeb = await start('./web.ts')
  web = startedWeb.child
  web.on('message', (told: Told) => {
    if (told.as === 'kill-worker') killWorker().catch(fail)
    if (told.as === 'fix') deployFix().catch(fail)
  })
  web.once('exit', code => fail(new Error(`the web process ended with ${code}`)))
  await startWorker()

  const at = `http://127.0.0.1:${startedWeb.port}`
  const order = (sku: string): string =>
    `curl -i ${at}/orders -H 'Content-Type: application/json' -d '{"sku":"${sku}","quantity":2}'`
  console.log(`
Order service at ${at}
(web process ${web.pid}, worker process ${worker?.pid}, both on ${address.replace(/:[^:@/]*@/, ':…@')})

  place an order              ${order('lamp')}
  … and wait for its result   ${order('lamp')} -H 'Prefer: wait=5'
  follow its buzzer           curl -N ${at}/operations/<id>/events
  kill the worker             curl -X POST ${at}/demo/kill-worker
  is everything done once?    curl ${at}/demo/summary
  a poison order              ${order('unobtainium')}
  see where it ended          npx buzzer dead-letters list
  deploy the fix              curl -X POST ${at}/demo/fix
  put it back                 npx buzzer dead-letters redrive orders --all

Ctrl-C drains and ends all processes.
`)
} catch (error) {
  fail(error)
}
