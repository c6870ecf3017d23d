import { expect, it } from 'vitest'
import type { StoredRecord } from '../../store/index.ts'
import { type EngineClient, messageTo } from '../../../test/broker/engine-client.ts'
import { withEngine } from '../../../test/broker/with-engine.ts'
import type { PeekPage } from './peek.ts'

const mebibyte = 1024 * 1024

let client: EngineClient

withEngine((_, first) => {
  client = first
})

it('a page of large messages ends early and leads on to the rest, none twice, none left out', () => {
  client.declare({ name: 'q' })
  for (let index = 0; index < 30; index++) client.send([messageTo('q', 'x'.repeat(mebibyte - 1_000))])
  const ids: string[] = []
  let pages = 0
  for (let after: string | undefined; ; pages++) {
    const options = { limit: 1_000, ...(after === undefined ? {} : { after }) }
    const page = client.call<PeekPage>({ call: 'admin', method: 'peek', queue: 'q', options })
    const bytes = page.items.reduce((sum, { record }) => sum + record.length, 0)
    expect(bytes).toBeLessThan(10 * mebibyte)
    ids.push(...page.items.map(({ id }) => id))
    after = page.next
    if (after === undefined) break
  }
  expect(pages).toBeGreaterThan(2)
  expect(new Set(ids).size).toBe(30)
  expect(ids).toEqual(ids.toSorted((left, right) => Number(left) - Number(right)))
})

it('a page of large records ends early too, and a claim takes no more than fits', () => {
  client.call({ call: 'store-declare', collections: [{ name: 'c', indexes: ['at'] }] })
  const ids = Array.from({ length: 20 }, (_, index) => `r${String(index).padStart(2, '0')}`)
  for (const [at, id] of ids.entries()) {
    const value = 'x'.repeat(mebibyte - 10)
    client.send([], [{ op: 'put', collection: 'c', id, value, expected: 'absent', indexes: { at } }])
  }
  const found: string[] = []
  for (let after: string | undefined; ; ) {
    const page = client.call<{ items: StoredRecord[]; next?: string }>({
      call: 'store-query',
      collection: 'c',
      where: { index: 'at', from: 0 },
      page: { limit: 1_000, ...(after === undefined ? {} : { after }) },
    })
    expect(page.items.length).toBeLessThan(10)
    found.push(...page.items.map(({ id }) => id))
    after = page.next
    if (after === undefined) break
  }
  expect(found).toEqual(ids)
  const due = { index: 'at', upTo: 100, limit: 1_000, owner: 'me', leaseMs: 60_000 }
  const claimed: string[] = []
  for (;;) {
    const records = client.call<StoredRecord[]>({ call: 'store-claim', collection: 'c', due })
    if (records.length === 0) break
    expect(records.length).toBeLessThan(10)
    claimed.push(...records.map(({ id }) => id))
  }
  expect(claimed).toEqual(ids)
})
