import assert from 'node:assert/strict'
import { describe, expect, test } from 'vitest'
import type { ConformanceCase } from './conformance/case.ts'
import { eventLogConformance } from './event-log-conformance.ts'
import { logSaboteurs, storeSaboteurs, transportSaboteurs } from './saboteurs.ts'
import { storeConformance } from './store-conformance.ts'
import { transportConformance } from './transport-conformance.ts'

// Short waits: a saboteur is caught by something that does not come, and nothing here is slow.
const impatient = { patienceMs: 1_000, quietMs: 60, lateMs: 1_000 }

interface AnySaboteur {
  readonly name: string
  readonly caughtBy: readonly string[]
}

function prove<S extends AnySaboteur>(
  what: string,
  saboteurs: readonly S[],
  suite: (saboteur: S) => readonly ConformanceCase[],
  names: readonly string[],
): void {
  describe(what, () => {
    for (const saboteur of saboteurs) {
      for (const start of saboteur.caughtBy) {
        test.concurrent(`"${saboteur.name}" is caught by "${start}…"`, async () => {
          const found = suite(saboteur).filter(one => one.name.slice(saboteur.name.length + 2).startsWith(start))
          assert.equal(found.length, 1, `${found.length} cases begin with "${start}"`)
          const outcome = await found[0]?.run().catch((error: unknown) => error)
          assert.ok(outcome instanceof Error, `it passed: ${JSON.stringify(outcome)}`)
        })
      }
    }

    test('every case of the suite is failed by at least one saboteur', () => {
      const caught = saboteurs.flatMap(saboteur => saboteur.caughtBy)
      const unproven = names.filter(name => !caught.some(start => name.startsWith(start)))
      expect(unproven).toEqual([])
    })

    test('no saboteur passes the whole suite', () => {
      expect(saboteurs.filter(saboteur => saboteur.caughtBy.length === 0)).toEqual([])
    })
  })
}

function namesOf(cases: readonly ConformanceCase[]): readonly string[] {
  return cases.map(one => one.name.slice('x: '.length))
}

const nobody = { name: 'x', create: () => assert.fail() }

prove(
  'transport saboteurs',
  transportSaboteurs,
  saboteur => transportConformance({ ...saboteur.options(), ...impatient }),
  namesOf(transportConformance(nobody)),
)

prove(
  'store saboteurs',
  storeSaboteurs,
  saboteur => storeConformance({ ...saboteur.options(), patienceMs: impatient.patienceMs }),
  namesOf(storeConformance(nobody)),
)

prove(
  'log saboteurs',
  logSaboteurs,
  saboteur =>
    eventLogConformance({ ...saboteur.options(), patienceMs: impatient.patienceMs, quietMs: impatient.quietMs }),
  namesOf(eventLogConformance(nobody)),
)
