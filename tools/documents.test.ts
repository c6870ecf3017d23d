import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

/** The programs of a page, each with the output that stands right below it, if any. */
function programs(page: string): { code: string; prints: string | undefined }[] {
  return [...page.matchAll(/```ts\n([\s\S]*?)```(?:\n```text\n([\s\S]*?)```)?/g)].map(([, code, prints]) => ({
    code: code ?? '',
    prints,
  }))
}

const guidePages = readdirSync(join(root, 'docs', 'guide'))
  .filter(name => name.endsWith('.md'))
  .map(name => name.slice(0, -'.md'.length))

// Inside the checkout, so that the programs find the packages; ignored by git.
const shelf = join(root, 'examples', '01-first-steps', 'data')
let folder: string
beforeAll(() => {
  mkdirSync(shelf, { recursive: true })
  folder = mkdtempSync(join(shelf, 'documents-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Starts a program in a folder of its own, on the sources. */
function start(code: string, name: string) {
  const cwd = join(folder, name)
  mkdirSync(cwd)
  writeFileSync(join(cwd, 'main.ts'), code)
  const child = spawn(process.execPath, ['--conditions=buzzer-source', 'main.ts'], { cwd, timeout: 20_000 })
  const seen = { stdout: '', stderr: '' }
  child.stdout.on('data', (text: Buffer) => (seen.stdout += text.toString()))
  child.stderr.on('data', (text: Buffer) => (seen.stderr += text.toString()))
  const exit = new Promise<number | string | null>(resolve =>
    child.once('close', (status, signal) => resolve(status ?? signal)),
  )
  return { child, seen, exit }
}

describe('README.md', () => {
  const [first, gateway] = programs(read('README.md'))

  test('begins with the first program, of at most 15 lines, that is the example', () => {
    expect(first?.code).toBe(read('examples/01-first-steps/main.ts'))
    expect(first?.code.trimEnd().split('\n').length).toBeLessThanOrEqual(15)
  })

  test('says what its first program prints', async () => {
    const { seen, exit } = start(first?.code ?? '', 'first')
    expect([await exit, seen.stderr, seen.stdout]).toEqual([0, '', read('examples/01-first-steps/expected-output.txt')])
    expect(read('README.md')).toContain(`prints \`${seen.stdout.trim()}\``)
  })

  test('shows a gateway that answers 202 and whose handler, once done, gives the result', async () => {
    const code = gateway?.code.replace('port: 8080', 'port: 0') ?? ''
    const { child, seen, exit } = start(`${code}\nconsole.log(server.url)\n`, 'gateway')
    while (!seen.stdout.includes('http'))
      await Promise.race([new Promise(resolve => setTimeout(resolve, 20)), exit.then(() => expect.fail(seen.stderr))])
    const url = seen.stdout.trim()
    const order = (headers: Record<string, string>): Promise<Response> =>
      fetch(new URL('/orders', url), {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: '{"sku":"lamp","quantity":2}',
      })
    expect((await order({})).status).toBe(202)
    const waited = await order({ prefer: 'wait=5' })
    expect([waited.status, ((await waited.json()) as { result: unknown }).result]).toEqual([200, { shipped: 2 }])
    child.kill('SIGKILL')
    await exit
  })
})

describe.each(guidePages)('docs/guide/%s.md', page => {
  for (const [i, { code, prints }] of programs(read(`docs/guide/${page}.md`)).entries()) {
    test(`its program ${i + 1} prints what stands below it`, async () => {
      expect(prints).toBeDefined()
      const { seen, exit } = start(code, `${page}-${i}`)
      expect([await exit, seen.stderr, seen.stdout]).toEqual([0, '', prints])
    })
  }
})

describe('links between the documents', () => {
  // The folders that hold documents; data and dependencies lie beside them.
  const folders = ['.', 'bench', 'docs/adr', 'docs/guide', 'docs/reference']
  const examples = readdirSync(join(root, 'examples')).filter(name => /^\d\d-/.test(name))
  const pages = [...folders, ...examples.map(name => `examples/${name}`)].flatMap(folder =>
    readdirSync(join(root, folder))
      .filter(name => name.endsWith('.md'))
      .map(name => join(folder, name)),
  )
  test.each(pages)('%s leads to files that exist', page => {
    const targets = [...read(page).matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(([, target]) => target ?? '')
    expect(targets.filter(target => !existsSync(join(root, dirname(page), target)))).toEqual([])
  })
})
