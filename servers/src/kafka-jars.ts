import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { ServerUnavailable } from './private-server.ts'

const run = promisify(execFile)
const project = fileURLToPath(new URL('../kafka', import.meta.url))
const fetchLimitMs = 300_000

/** A folder with all jars of a broker. */
export interface KafkaJars {
  readonly folder: string
  readonly version: string
}

/**
 * The jars of a Kafka broker: in the folder that `BUZZER_TEST_KAFKA_LIBS` names, else in `servers/kafka/libs`, where Maven
 * puts them the first time, as `servers/kafka/pom.xml` says.
 *
 * @throws ServerUnavailable without jars and without Maven
 */
export async function kafkaJars(): Promise<KafkaJars> {
  const given = process.env['BUZZER_TEST_KAFKA_LIBS']
  const folder = given ?? join(project, 'libs')
  const there = versionOf(folder)
  if (there !== undefined) return { folder, version: there }
  if (given !== undefined)
    throw new ServerUnavailable(`BUZZER_TEST_KAFKA_LIBS is ${given}, but no kafka_2.13-….jar lies there`)
  await fetchInto(folder)
  const version = versionOf(folder)
  if (version === undefined) throw new Error(`Maven has put no kafka_2.13-….jar into ${folder}`)
  return { folder, version }
}

function versionOf(folder: string): string | undefined {
  let names: readonly string[]
  try {
    names = readdirSync(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  return names.map(name => /^kafka_2\.\d+-(\d[\d.]*)\.jar$/.exec(name)?.[1]).find(version => version !== undefined)
}

/** Into a folder beside it first: a run that is cut off, or another one at the same time, leaves no half set of jars. */
async function fetchInto(folder: string): Promise<void> {
  mkdirSync(project, { recursive: true })
  const partial = mkdtempSync(join(project, 'libs-'))
  try {
    const goal = ['dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${partial}`]
    await run('mvn', ['-q', '-B', '-f', join(project, 'pom.xml'), ...goal], { timeout: fetchLimitMs })
    renameSync(partial, folder)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    // Another process was faster: its set is as good.
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return
    throw new ServerUnavailable(
      code === 'ENOENT'
        ? 'no jars of Kafka and no mvn to fetch them with (Debian: apt install maven), or set BUZZER_TEST_KAFKA_LIBS'
        : `Maven could not fetch the jars of Kafka: ${message}`,
      { cause: error },
    )
  } finally {
    rmSync(partial, { recursive: true, force: true })
  }
}
