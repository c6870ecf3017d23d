import { isGiven, ServerUnavailable, service } from 'buzzer-servers'
import { type CaseServer, Unavailable } from '../suite.ts'

/**
 * The server at its variable's address, else one of our own as it comes from its makers, else the one on the default port: whoever
 * set that up may have switched off what every contender needs, such as autovacuum. Throws `Unavailable`.
 */
export async function ownOrFound(
  name: 'postgres' | 'rabbitmq',
  start: () => Promise<CaseServer>,
  versionAt: (url: string) => Promise<string>,
): Promise<CaseServer> {
  if (!isGiven(name)) {
    try {
      return await start()
    } catch (error) {
      if (!(error instanceof ServerUnavailable)) throw error
    }
  }
  const { url, reason } = await service(name)
  if (url === undefined) throw new Unavailable(reason)
  return { url, version: await versionAt(url), [Symbol.asyncDispose]: () => Promise.resolve() }
}
