import type { ProgressReport } from '../bus/index.ts'
import type { OperationProgress } from './operation.ts'

const maxNoteCharacters = 500

/**
 * A report as it is recorded: percent clamped to 0–100 and computed where `total` is known, the note cut.
 * Numbers that are not finite are left out, so a report never fails. Source: spec http 2.9.
 */
export function readProgress(report: ProgressReport, nowMs: number): OperationProgress {
  const at = new Date(nowMs).toISOString()
  if (typeof report === 'number') return { ...percentOf(report), at }
  if (typeof report !== 'object' || report === null) return { at }
  const done = finite(report.done)
  const total = finite(report.total)
  return {
    ...(done !== undefined && total !== undefined && total > 0 ? percentOf((done / total) * 100) : {}),
    ...(done === undefined ? {} : { done }),
    ...(total === undefined ? {} : { total }),
    ...(typeof report.note === 'string' ? { note: cut(report.note) } : {}),
    at,
  }
}

function percentOf(percent: number): { percent?: number } {
  return Number.isFinite(percent) ? { percent: Math.min(100, Math.max(0, percent)) } : {}
}

function finite(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined
}

/** Cut by code points, so that no half of a surrogate pair is left. */
function cut(note: string): string {
  return note.length <= maxNoteCharacters ? note : Array.from(note).slice(0, maxNoteCharacters).join('')
}
