import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { embedded } from '../broker/index.ts'
import { type Bus, createBus } from '../bus/index.ts'
import { defineCommand, silentLogger } from '../message/index.ts'
import { guaranteesOf, weakestCapabilities } from '../transport/index.ts'
import type { Console } from './console.ts'
import { testConsole } from './console.test-double.ts'
import { runCommand } from './run-command.ts'

const Charge = defineCommand<{ card: string }>('billing.charge')

describe('the buzzer command on the file of a running system', () => {
  let directory: string
  let bus: Bus
  let handled: string[]
  let bankIsDown: boolean

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'buzzer-cli-'))
    handled = []
    bankIsDown = true
    bus = createBus({
      name: 'billing',
      transport: embedded({ path: join(directory, 'data', 'billing.db') }),
      faults: 'none',
      logger: silentLogger,
    })
    bus.queue('charges', { retry: 'none' }).handle(Charge, ({ card }) => {
      if (bankIsDown) throw new Error(`no answer for ${card}`)
      handled.push(card)
    })
    await bus.start()
  })
  afterEach(async () => {
    await bus.stop()
    rmSync(directory, { recursive: true, force: true })
  })

  async function makeDead(...cards: string[]): Promise<void> {
    for (const card of cards) await bus.send(Charge, { card })
    await expect.poll(async () => (await bus.admin.queues())[0]?.dead).toBe(cards.length)
  }

  async function buzzer(args: string, given: Partial<Console> = {}) {
    const seen = testConsole({ directory, ...given })
    const exitCode = await runCommand(args.split(' '), seen.console)
    const lines = seen.written().split('\n').filter(Boolean)
    const objects = given.isTerminal === true ? [] : lines.map(line => JSON.parse(line) as Record<string, unknown>)
    return { exitCode, objects, written: seen.written(), complained: seen.complained() }
  }

  test('dead-letters list tells what is dead and why, newest first, as JSON where nobody looks', async () => {
    await makeDead('gold', 'silver')
    const { exitCode, objects, complained } = await buzzer('dead-letters list')
    expect([exitCode, complained]).toEqual([0, ''])
    expect(objects).toMatchObject([
      {
        queue: 'charges',
        type: 'billing.charge',
        reason: 'retries-exhausted',
        error: { message: 'no answer for silver' },
      },
      { queue: 'charges', type: 'billing.charge', attempts: 1, error: { message: 'no answer for gold' } },
    ])
  })

  test('dead-letters list is a table on a terminal, and says when there is more than it shows', async () => {
    await makeDead('gold', 'silver')
    const { written, complained } = await buzzer('dead-letters list charges --limit 1', {
      isTerminal: true,
      columns: 140,
    })
    const [head, row, rest] = written.split('\n')
    expect(head).toMatch(/^QUEUE\s+ID\s+TYPE\s+REASON\s+ATTEMPTS\s+DEAD FOR\s+ERROR$/)
    expect(row).toMatch(
      /^charges\s+\S+\s+billing\.charge\s+retries-exhausted\s+1\s+\d+s\s+Error: no answer for silver$/,
    )
    expect([rest, complained]).toEqual(['', 'there are more than 1: see --limit\n'])
  })

  test('dead-letters list narrows by reason, error and body', async () => {
    await makeDead('gold', 'silver')
    expect((await buzzer('dead-letters list --reason not-retryable')).objects).toEqual([])
    expect((await buzzer('dead-letters list --error SILVER')).objects).toHaveLength(1)
    expect((await buzzer('dead-letters list --text gold')).objects).toMatchObject([
      { error: { message: 'no answer for gold' } },
    ])
  })

  test('dead-letters show tells all of one, with its body', async () => {
    await makeDead('gold')
    const [listed] = (await buzzer('dead-letters list')).objects
    const { exitCode, objects } = await buzzer(`dead-letters show charges ${String(listed?.['id'])}`)
    expect(exitCode).toBe(0)
    expect(objects).toMatchObject([{ messageId: listed?.['messageId'], data: { card: 'gold' } }])
    expect(Buffer.from(String(objects[0]?.['body']), 'base64').toString()).toBe('{"card":"gold"}')
    const { written } = await buzzer(`dead-letters show charges ${String(listed?.['id'])} --table`, {
      isTerminal: true,
    })
    expect(written).toContain('no answer for gold')
  })

  test('dead-letters redrive puts back those that are named, and they are handled', async () => {
    await makeDead('gold', 'silver')
    bankIsDown = false
    const [silver] = (await buzzer('dead-letters list --text silver')).objects
    const redriven = await buzzer(`dead-letters redrive charges ${String(silver?.['id'])}`)
    expect([redriven.exitCode, redriven.objects]).toEqual([0, [{ queue: 'charges', redriven: 1, failures: [] }]])
    await expect.poll(() => handled).toEqual(['silver'])
    expect((await buzzer('dead redrive --all')).objects).toEqual([{ queue: 'charges', redriven: 1, failures: [] }])
    await expect.poll(() => handled).toEqual(['silver', 'gold'])
    expect((await bus.admin.deadLetters('charges').audit()).items).toMatchObject([{ by: 'ann' }, { by: 'ann' }])
  })

  test('where one queue has dead letters it need not be named, and the id of the message will do', async () => {
    await makeDead('gold', 'silver')
    bankIsDown = false
    const [silver, gold] = (await buzzer('dead-letters list')).objects
    expect((await buzzer(`dead-letters show ${String(gold?.['messageId'])}`)).objects).toMatchObject([
      { id: gold?.['id'] },
    ])
    const redriven = await buzzer(`dead-letters redrive ${String(silver?.['messageId'])}`)
    expect(redriven.objects).toEqual([{ queue: 'charges', redriven: 1, failures: [] }])
    await expect.poll(() => handled).toEqual(['silver'])
  })

  test('a dry run says how many and changes nothing', async () => {
    await makeDead('gold', 'silver')
    const dry = { queue: 'charges', dryRun: true, matched: 2 }
    expect((await buzzer('dead-letters redrive charges --all --dry-run')).objects).toEqual([
      { ...dry, action: 'redrive' },
    ])
    expect((await buzzer('dead-letters delete charges --all --dry-run')).objects).toEqual([
      { ...dry, action: 'delete' },
    ])
    expect((await buzzer('queues')).objects).toMatchObject([{ name: 'charges', dead: 2 }])
  })

  test('nothing is deleted without --yes where nobody can be asked: exit 2', async () => {
    await makeDead('gold')
    const refused = await buzzer('dead-letters delete charges --all')
    expect([refused.exitCode, refused.written]).toEqual([2, ''])
    expect(refused.complained).toMatch(/^error: deleting is for good: add --yes/)
    expect((await buzzer('queues')).objects).toMatchObject([{ dead: 1 }])
    const deleted = await buzzer('dead-letters delete charges --all --yes')
    expect([deleted.exitCode, deleted.objects]).toEqual([0, [{ queue: 'charges', deleted: 1 }]])
    expect((await buzzer('queues')).objects).toMatchObject([{ dead: 0 }])
  })

  test('which ones must be said, and exactly once: exit 2', async () => {
    await makeDead('gold')
    expect((await buzzer('dead-letters redrive charges')).exitCode).toBe(2)
    expect((await buzzer('dead-letters redrive charges 1 --all')).exitCode).toBe(2)
    expect((await buzzer('queues')).objects).toMatchObject([{ dead: 1 }])
  })

  test('an unknown queue or dead letter is exit 3, with its name', async () => {
    const queue = await buzzer('dead-letters list no-such-queue')
    expect(queue.exitCode).toBe(3)
    expect(queue.complained).toMatch(/^error BUZZER_QUEUE_NOT_FOUND: .*no-such-queue/)
    const letter = await buzzer('dead-letters show charges 999999')
    expect([letter.exitCode, letter.complained]).toEqual([3, 'error: no dead letter 999999 on the queue charges.\n'])
  })

  test('queues counts what waits and who takes it', async () => {
    expect((await buzzer('queues')).objects).toMatchObject([
      { name: 'charges', ready: 0, locked: 0, scheduled: 0, dead: 0, receivers: 1 },
    ])
    const { written } = await buzzer('queues', { isTerminal: true })
    expect(written).toMatch(/^QUEUE\s+READY\s+LOCKED\s+SCHEDULED\s+DEAD\s+RECEIVERS\s+OLDEST\ncharges\s+0/)
  })

  test('doctor finds the system sound, and names what is dead', async () => {
    await makeDead('gold')
    const { exitCode, objects } = await buzzer('doctor')
    expect(exitCode).toBe(0)
    expect(objects.map(({ what, verdict }) => [what, verdict])).toEqual([
      ['versions', 'ok'],
      ['free space', expect.stringMatching(/ok|warning/)],
      ['sync', expect.stringMatching(/ok|warning/)],
      ['broker', 'ok'],
      ['queue charges', 'warning'],
      ...guaranteesOf(weakestCapabilities).map(({ name }) => [name, 'ok']),
    ])
    expect(objects).toContainEqual({ what: 'dead letters with reason and bytes', verdict: 'ok', detail: 'native' })
  })

  test('check finds the file sound while it is in use, from another process', async () => {
    await makeDead('gold')
    const main = fileURLToPath(new URL('./main.ts', import.meta.url))
    const run = (...args: string[]) =>
      spawnSync(process.execPath, ['--conditions=buzzer-source', main, ...args], { cwd: directory, encoding: 'utf8' })
    const sound = run('check')
    expect([sound.status, JSON.parse(sound.stdout)]).toMatchObject([0, { ok: true, problems: [] }])
    const missing = run('check', './no-such.db')
    expect([missing.status, missing.stdout]).toEqual([2, ''])
    expect(missing.stderr).toMatch(/^error: could not look: .*no-such\.db does not exist\n$/)
  })

  test('backup writes a sound copy while the file is in use, salvage copies what can be read', async () => {
    await makeDead('gold')
    const copy = join(directory, 'copy.db')
    expect((await buzzer('backup ./copy.db')).objects).toEqual([{ to: copy }])
    expect((await buzzer('check ./copy.db')).objects).toMatchObject([{ ok: true, problems: [] }])
    const salvaged = await buzzer('salvage ./copy.db ./salvaged.db')
    expect([salvaged.exitCode, salvaged.objects]).toMatchObject([0, [{ messages: 1, problems: [] }]])
    expect((await buzzer('salvage ./copy.db ./salvaged.db')).exitCode).toBe(2)
    expect((await buzzer('dead-letters list --file ./salvaged.db --host')).objects).toMatchObject([
      { data: { card: 'gold' } },
    ])
  })

  test('an unknown command or option is exit 2; help and version are exit 0', async () => {
    expect((await buzzer('no-such-command', { isTerminal: true })).exitCode).toBe(2)
    expect((await buzzer('queues --no-such-option', { isTerminal: true })).exitCode).toBe(2)
    const help = await buzzer('--help', { isTerminal: true })
    expect(help.exitCode).toBe(0)
    expect(help.written).toContain('dead-letters|dead')
    expect((await buzzer('--version', { isTerminal: true })).written).toMatch(/^buzzer \S+, Node \S+, SQLite \S+\n$/)
    expect((await buzzer('dead-letters redrive --help', { isTerminal: true })).written).toContain('Examples:')
  })
})

describe('the buzzer command where no process has the file open', () => {
  let directory: string
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'buzzer-cli-'))
  })
  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  test('says so and exits 2; with --host it opens the file itself', async () => {
    const path = join(directory, 'left.db')
    const bus = createBus({ name: 'left', transport: embedded({ path }), logger: silentLogger })
    bus.queue('charges').handle(Charge, () => undefined)
    await bus.start()
    await bus.stop()

    const main = fileURLToPath(new URL('./main.ts', import.meta.url))
    const refused = spawnSync(process.execPath, ['--conditions=buzzer-source', main, 'queues', '--file', path], {
      encoding: 'utf8',
    })
    expect([refused.status, refused.stdout]).toEqual([2, ''])
    expect(refused.stderr).toBe(
      `error: no running process has ${path} open. Start one, or add --host to open the file from here.\n`,
    )
    const hosted = testConsole({ directory })
    expect(await runCommand(['queues', '--file', path, '--host'], hosted.console)).toBe(0)
    expect(JSON.parse(hosted.written())).toMatchObject({ name: 'charges', receivers: 0 })
  })
})

describe('bin/buzzer.js', () => {
  const bin = fileURLToPath(new URL('../../bin/buzzer.js', import.meta.url))

  test('says in one line when Node is too old', () => {
    const pretend = `Object.defineProperty(process.versions, 'node', { value: '20.20.2' })`
    const old = spawnSync(process.execPath, ['--import', `data:text/javascript,${encodeURIComponent(pretend)}`, bin], {
      encoding: 'utf8',
    })
    expect([old.status, old.stdout]).toEqual([1, ''])
    expect(old.stderr).toMatch(/^buzzer needs Node 24\.16 or newer; this is Node \S+\.\n$/)
  })
})
