import { execFile, type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chown, mkdtemp, open, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { freePort } from './free-port.ts'
import { type PrivateServer, ServerUnavailable } from './private-server.ts'

const run = promisify(execFile)

/** How long a start may take: recovery after a crash with much to replay included. */
const startMs = 60_000
const stopMs = 30_000

/** A PostgreSQL server of our own, with `fsync` on. */
export interface PrivatePostgres extends PrivateServer {
  /** The immediate stop of `pg_ctl -m immediate`: no checkpoint, no farewell to clients; the next start recovers. */
  stopAtOnce(): Promise<void>
}

/**
 * Makes a database cluster in a temporary folder and starts it. `settings` are added to the server's command line (`-c`).
 * As root it runs as the user `postgres`, since the server refuses root. Source: spec transports 6.
 * @throws ServerUnavailable when the programs of PostgreSQL are not on this machine
 */
export async function startPostgres(settings: Readonly<Record<string, string>> = {}): Promise<PrivatePostgres> {
  const programs = await findPrograms()
  const identity = await serverIdentity()
  const folder = await mkdtemp(join(tmpdir(), 'buzzer-postgres-'))
  if (identity !== undefined) await chown(folder, identity.uid, identity.gid)
  const { stdout } = await run(join(programs, 'postgres'), ['--version'])
  const port = await freePort()
  const initdb = [join(programs, 'initdb'), '-D', join(folder, 'data'), '-U', 'postgres', '-A', 'trust', '-E', 'UTF8']
  const [program, ...rest] = asServerUser(identity, [...initdb, '--locale=C'])
  await run(program as string, rest, { timeout: startMs })
  const server = new PostgresProcess(programs, identity, folder, port, settings)
  try {
    await server.start()
  } catch (error) {
    await server.dispose()
    throw error
  }
  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    port,
    version: /\d+(\.\d+)*/.exec(stdout)?.[0] ?? 'unknown',
    folder,
    start: () => server.start(),
    stop: () => server.end('SIGINT'),
    stopAtOnce: () => server.end('SIGQUIT'),
    kill: () => server.end('SIGKILL'),
    [Symbol.asyncDispose]: () => server.dispose(),
  }
}

interface Identity {
  readonly uid: number
  readonly gid: number
}

/** The postmaster with its children. Signals: SIGINT is the fast stop, SIGQUIT the immediate one. */
class PostgresProcess {
  readonly #programs: string
  readonly #identity: Identity | undefined
  readonly #folder: string
  readonly #port: number
  readonly #settings: Readonly<Record<string, string>>
  #postmaster: ChildProcess | undefined
  readonly #killWithUs = (): void => void this.#postmaster?.kill('SIGQUIT')

  constructor(
    programs: string,
    identity: Identity | undefined,
    folder: string,
    port: number,
    settings: Readonly<Record<string, string>>,
  ) {
    this.#programs = programs
    this.#identity = identity
    this.#folder = folder
    this.#port = port
    this.#settings = settings
    process.on('exit', this.#killWithUs)
  }

  async start(): Promise<void> {
    if (this.#postmaster !== undefined) return
    const log = await open(join(this.#folder, 'server.log'), 'a')
    try {
      const settings = {
        listen_addresses: '127.0.0.1',
        unix_socket_directories: '',
        fsync: 'on',
        synchronous_commit: 'on',
        ...this.#settings,
      }
      const options = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
      const [program, ...rest] = asServerUser(this.#identity, [
        join(this.#programs, 'postgres'),
        '-D',
        join(this.#folder, 'data'),
        '-p',
        String(this.#port),
        ...options,
      ])
      const postmaster = spawn(program as string, rest, { stdio: ['ignore', log.fd, log.fd] })
      this.#postmaster = postmaster
      postmaster.once('exit', () => {
        if (this.#postmaster === postmaster) this.#postmaster = undefined
      })
      await once(postmaster, 'spawn')
      await this.#untilReady(postmaster)
    } finally {
      await log.close()
    }
  }

  async end(signal: 'SIGINT' | 'SIGQUIT' | 'SIGKILL'): Promise<void> {
    const postmaster = this.#postmaster
    if (postmaster === undefined) return
    const children = await childrenOf(postmaster.pid as number)
    const gone = once(postmaster, 'exit')
    postmaster.kill(signal)
    await gone
    // A killed postmaster leaves its children, which hold the shared memory that the next start needs.
    for (const pid of children) if (signal === 'SIGKILL') tryKill(pid, 'SIGKILL')
    const giveUpAt = performance.now() + stopMs
    while (children.some(isAlive)) {
      if (performance.now() > giveUpAt)
        throw new Error(`processes of PostgreSQL outlived ${signal}: ${children.join(', ')}`)
      await sleep(5)
    }
  }

  async dispose(): Promise<void> {
    process.removeListener('exit', this.#killWithUs)
    await this.end('SIGQUIT')
    await rm(this.#folder, { recursive: true, force: true })
  }

  async #untilReady(postmaster: ChildProcess): Promise<void> {
    const giveUpAt = performance.now() + startMs
    const question = ['-q', '-h', '127.0.0.1', '-p', String(this.#port), '-U', 'postgres', '-t', '5']
    for (;;) {
      if (postmaster.exitCode !== null || postmaster.signalCode !== null) {
        throw new Error(`PostgreSQL ended while starting; see ${join(this.#folder, 'server.log')}`)
      }
      const isReady = await run(join(this.#programs, 'pg_isready'), question).then(
        () => true,
        () => false,
      )
      if (isReady) return
      if (performance.now() > giveUpAt) throw new Error(`PostgreSQL did not answer within ${startMs} ms`)
      await sleep(20)
    }
  }
}

/** The folder that holds `initdb` and `postgres`: where `BUZZER_TEST_POSTGRES_BIN` says, on the path, or where packages put them. */
async function findPrograms(): Promise<string> {
  const packaged = '/usr/lib/postgresql'
  const versions = await readdir(packaged).catch((): string[] => [])
  const newestFirst = versions.toSorted((a, b) => Number(b) - Number(a))
  const folders = [
    ...(process.env['BUZZER_TEST_POSTGRES_BIN'] === undefined ? [] : [process.env['BUZZER_TEST_POSTGRES_BIN']]),
    ...newestFirst.map(version => join(packaged, version, 'bin')),
    ...(process.env['PATH'] ?? '').split(delimiter),
  ]
  for (const folder of folders) {
    const names = await readdir(folder).catch((): string[] => [])
    if (names.includes('initdb') && names.includes('postgres')) return folder
  }
  throw new ServerUnavailable(
    `no initdb and postgres on the path or under ${packaged}; install PostgreSQL 14 or later, or set BUZZER_TEST_POSTGRES_BIN`,
  )
}

/** Whom the server runs as when we are root. */
async function serverIdentity(): Promise<Identity | undefined> {
  if (process.getuid?.() !== 0) return undefined
  try {
    const [uid, gid] = await Promise.all([run('id', ['-u', 'postgres']), run('id', ['-g', 'postgres'])])
    return { uid: Number(uid.stdout), gid: Number(gid.stdout) }
  } catch (error) {
    throw new ServerUnavailable('PostgreSQL does not run as root, and there is no user postgres to run it as', {
      cause: error,
    })
  }
}

function asServerUser(identity: Identity | undefined, command: readonly string[]): readonly string[] {
  if (identity === undefined) return command
  const { uid, gid } = identity
  return ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', ...command]
}

async function childrenOf(parent: number): Promise<readonly number[]> {
  const { stdout } = await run('ps', ['-A', '-o', 'pid=,ppid='])
  const pairs = stdout
    .trim()
    .split('\n')
    .map(line => line.trim().split(/\s+/).map(Number))
  return pairs.filter(([, ppid]) => ppid === parent).map(([pid]) => pid as number)
}

function isAlive(pid: number): boolean {
  return tryKill(pid, 0)
}

function tryKill(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal)
  } catch {
    return false
  }
}
