import { expect, it } from 'vitest'
import { refuseOldSqlite, sqliteVersion } from './sqlite-version.ts'

it('SQLite older than 3.51.3 is refused with both versions, the one of this Node is taken', () => {
  for (const version of ['3.51.2', '3.50.9', '3.9.0', '2.99.99', '3.51']) {
    expect(() => refuseOldSqlite(version)).toThrowError(
      expect.objectContaining({ code: 'BUZZER_UNSUPPORTED', details: { version, needed: '3.51.3' } }),
    )
  }
  for (const version of ['3.51.3', '3.51.4', '3.52.0', '3.100.0', '4.0.0', sqliteVersion()]) refuseOldSqlite(version)
})
