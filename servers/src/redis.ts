import { spawnSync } from 'node:child_process'
import { connect } from 'node:net'
import { dataFolder } from './data-folder.ts'
import { freePort } from './free-port.ts'
import { type PrivateServer, ServerUnavailable } from './private-server.ts'
import { ServerProcess } from './server-process.ts'

export interface RedisOptions {
  /** When the append-only file is synced. Default `everysec`, as Redis's own. */
  readonly appendfsync?: 'everysec' | 'always'
  /** Where the append-only file lies; it stays. Default: a temporary folder, removed at the end. */
  readonly folder?: string
}

/**
 * A redis-server of our own, with an append-only file and no snapshots.
 *
 * @throws ServerUnavailable when there is no redis-server on this machine
 */
export async function startRedis(options: RedisOptions = {}): Promise<PrivateServer> {
  const asked = spawnSync('redis-server', ['--version'], { encoding: 'utf8' })
  if (asked.error !== undefined)
    throw new ServerUnavailable('no redis-server on this machine (Debian: apt install redis-server)')
  const port = await freePort()
  const folder = dataFolder('redis', options.folder)
  const settings = {
    port: String(port),
    bind: '127.0.0.1',
    dir: folder.path,
    appendonly: 'yes',
    appendfsync: options.appendfsync ?? 'everysec',
    save: '',
    daemonize: 'no',
  }
  const server = new ServerProcess({
    name: 'redis-server',
    command: 'redis-server',
    args: Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]),
    answers: () => pongs(port),
    startLimitMs: 60_000,
  })
  const dispose = async (): Promise<void> => {
    await server[Symbol.asyncDispose]()
    folder[Symbol.dispose]()
  }
  try {
    await server.start()
  } catch (error) {
    await dispose()
    throw error
  }
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    version: /v=(\S+)/.exec(asked.stdout)?.[1] ?? 'unknown',
    folder: folder.path,
    start: () => server.start(),
    stop: () => server.end('SIGTERM'),
    kill: () => server.end('SIGKILL'),
    [Symbol.asyncDispose]: dispose,
  }
}

/** Whether `PING` is answered with `PONG`; while it loads its file Redis answers with an error. */
function pongs(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1', () => socket.write('PING\r\n'))
    const settle = (verdict: boolean): void => {
      socket.destroy()
      resolve(verdict)
    }
    socket.setTimeout(3_000, () => settle(false))
    socket.once('data', answer => settle(answer.toString().startsWith('+PONG')))
    socket.once('error', () => settle(false))
    socket.once('close', () => settle(false))
  })
}
