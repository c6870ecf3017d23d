import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { accessSync, constants, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { dataFolder } from './data-folder.ts'
import { freePort } from './free-port.ts'
import { answers } from './handshake.ts'
import { type PrivateServer, ServerUnavailable } from './private-server.ts'

const run = promisify(execFile)

/** Boot of the Erlang machine and recovery, on a machine that runs other tests. */
const startMs = 120_000
const stopMs = 30_000
const commandMs = 60_000
/** What is kept of its output, for the error when it does not start. */
const logCharacters = 8_000

/** A RabbitMQ node of our own, with the means of its operator. */
export interface PrivateRabbitMq extends PrivateServer {
  /** `rabbitmqctl` on this node; resolves to what it prints. About a second each: it boots an Erlang machine of its own. */
  ctl(...args: readonly string[]): Promise<string>
  /** Closes every connection from the server's side, as an operator would. */
  closeConnections(reason?: string): Promise<void>
  /** Sets the memory alarm off, or ends it: while it is on the server reads nothing from connections that publish. */
  memoryAlarm(alarm: 'on' | 'off'): Promise<void>
}

/**
 * Starts a node in a temporary folder: no plug-in, loopback only, user guest. `settings` are lines of `rabbitmq.conf`.
 * As root it runs as root. Source: spec transports 6.
 * @throws ServerUnavailable when the programs of RabbitMQ are not on this machine
 */
export async function startRabbitMq(settings: Readonly<Record<string, string>> = {}): Promise<PrivateRabbitMq> {
  const programs = findPrograms()
  const folder = dataFolder('rabbitmq', undefined)
  const [port, distPort] = [await freePort(), await freePort()]
  const nodeName = `buzzer-${port}@localhost`
  const config = {
    'listeners.tcp.1': `127.0.0.1:${port}`,
    loopback_users: 'none',
    'raft.wal_max_size_bytes': '67108864',
    ...settings,
  }
  const lines = Object.entries(config).map(([name, value]) => `${name} = ${value}`)
  await writeFile(join(folder.path, 'rabbitmq.conf'), `${lines.join('\n')}\n`)
  await writeFile(join(folder.path, 'enabled_plugins'), '[].\n')
  const environment: NodeJS.ProcessEnv = {
    PATH: process.env['PATH'],
    LANG: 'C.UTF-8',
    // The cookie by which node and rabbitmqctl know each other lies here.
    HOME: folder.path,
    RABBITMQ_NODENAME: nodeName,
    RABBITMQ_DIST_PORT: String(distPort),
    RABBITMQ_CONFIG_FILE: join(folder.path, 'rabbitmq.conf'),
    RABBITMQ_CONF_ENV_FILE: '/dev/null',
    RABBITMQ_ENABLED_PLUGINS_FILE: join(folder.path, 'enabled_plugins'),
    RABBITMQ_MNESIA_BASE: join(folder.path, 'data'),
    RABBITMQ_LOG_BASE: join(folder.path, 'log'),
    // After a crash, a message on its way from one queue to the next is tried again when its confirm is overdue: three minutes
    // later by default. No setting of rabbitmq.conf reaches it.
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS:
      '+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -rabbit dead_letter_worker_publisher_confirm_timeout 3000',
  }
  const node = new Node(join(programs, 'rabbitmq-server'), environment, port)
  const dispose = async (): Promise<void> => {
    await node[Symbol.asyncDispose]()
    folder[Symbol.dispose]()
  }
  const ctl = async (...args: readonly string[]): Promise<string> => {
    const { stdout } = await run(join(programs, 'rabbitmqctl'), ['-q', '-n', nodeName, ...args], {
      env: environment,
      timeout: commandMs,
    })
    return stdout
  }
  try {
    await node.start()
    const version = await ctl('version')
    return {
      url: `amqp://guest:guest@127.0.0.1:${port}`,
      port,
      version: version.trim(),
      folder: folder.path,
      start: () => node.start(),
      stop: () => node.end('SIGTERM'),
      kill: () => node.end('SIGKILL'),
      ctl,
      closeConnections: async (reason = 'closed by a test') => void (await ctl('close_all_connections', reason)),
      memoryAlarm: async alarm =>
        void (await ctl('set_vm_memory_high_watermark', alarm === 'on' ? '0.0000001' : '0.8')),
      [Symbol.asyncDispose]: dispose,
    }
  } catch (error) {
    await dispose()
    throw error
  }
}

/** The shell script of the server and all that it starts are one process group, so that a kill leaves nothing behind. */
class Node {
  readonly #command: string
  readonly #environment: NodeJS.ProcessEnv
  readonly #port: number
  #child: ChildProcess | undefined
  #exited: Promise<void> = Promise.resolve()
  readonly #killWithUs = (): void => this.#signalGroup('SIGKILL')

  constructor(command: string, environment: NodeJS.ProcessEnv, port: number) {
    this.#command = command
    this.#environment = environment
    this.#port = port
    process.on('exit', this.#killWithUs)
  }

  async start(): Promise<void> {
    if (this.#child !== undefined) return
    const child = spawn(this.#command, [], {
      cwd: this.#environment['HOME'],
      env: this.#environment,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#child = child
    let log = ''
    const keep = (text: Buffer): void => void (log = (log + text.toString()).slice(-logCharacters))
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    this.#exited = new Promise(resolve => {
      // Closed, not just exited: whoever of the group still holds the pipe still runs.
      child.once('close', () => resolve())
      child.once('error', error => {
        keep(Buffer.from(error.message))
        resolve()
      })
    })
    let isOver = false
    void this.#exited.then(() => {
      isOver = true
      if (this.#child === child) this.#child = undefined
    })
    const giveUpAt = performance.now() + startMs
    while (!(await answers('rabbitmq', '127.0.0.1', this.#port))) {
      if (isOver) throw new Error(`rabbitmq-server ended while starting:\n${log}`)
      if (performance.now() > giveUpAt) {
        await this.end('SIGKILL')
        throw new Error(`rabbitmq-server did not answer within ${startMs} ms:\n${log}`)
      }
      await sleep(50)
    }
  }

  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    if (this.#child === undefined) return
    // The script passes SIGTERM on to the node and waits for it; SIGKILL has to reach each process itself.
    if (signal === 'SIGTERM') this.#child.kill('SIGTERM')
    else this.#signalGroup('SIGKILL')
    const impatience = setTimeout(() => this.#signalGroup('SIGKILL'), stopMs)
    await this.#exited
    clearTimeout(impatience)
    this.#child = undefined
  }

  #signalGroup(signal: NodeJS.Signals): void {
    const pid = this.#child?.pid
    if (pid === undefined) return
    try {
      process.kill(-pid, signal)
    } catch {
      // The group is gone already.
    }
  }

  /** Killed: what is disposed of is needed no more. */
  async [Symbol.asyncDispose](): Promise<void> {
    process.removeListener('exit', this.#killWithUs)
    await this.end('SIGKILL')
  }
}

/** The folder of the real scripts: Debian's in `/usr/sbin` would change user and folders. */
function findPrograms(): string {
  const given = process.env['RABBITMQ_HOME']
  const folders = [
    ...(given === undefined ? [] : [join(given, 'sbin')]),
    '/usr/lib/rabbitmq/bin',
    '/opt/rabbitmq/sbin',
    ...(process.env['PATH'] ?? '').split(delimiter),
  ]
  for (const folder of folders) {
    try {
      for (const program of ['rabbitmq-server', 'rabbitmqctl']) accessSync(join(folder, program), constants.X_OK)
      if (readFileSync(join(folder, 'rabbitmq-server'), 'utf8').includes('su rabbitmq')) continue
      return folder
    } catch {
      continue
    }
  }
  throw new ServerUnavailable('no rabbitmq-server found on this machine (Debian: apt install rabbitmq-server)')
}
