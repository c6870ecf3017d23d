/** What clients of protocol 1 are given: records in the layout they know. */
import { ByteWriter, decodeMessage, encodeFirstRecord } from '../protocol/index.ts'
import type { PeekPage } from './peek.ts'
import type { Session } from './session.ts'

const firstVersion = 1

/** Whether the session reads records of the first layout only. */
export function readsFirstLayout(session: Session): boolean {
  return session.protocolVersion === firstVersion
}

const writer = new ByteWriter(1_024)

/** A record of any layout in the first. */
export function inFirstLayout(bytes: Buffer, start: number): Buffer {
  encodeFirstRecord(writer, decodeMessage(bytes, start))
  return Buffer.from(writer.take())
}

export function pageInFirstLayout(page: PeekPage): PeekPage {
  const items = page.items.map(item => ({
    ...item,
    record: inFirstLayout(Buffer.from(item.record, 'base64'), 0).toString('base64'),
  }))
  return { ...page, items }
}
