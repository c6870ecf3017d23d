import type { Truth, Value } from './value.ts'

/** `%` any run, `_` one code point, everything else itself. */
type Step = '%' | '_' | { readonly literal: string }

/** The pattern in steps, or `undefined` when its last character is an escape with nothing to escape. */
export function parsePattern(pattern: string, escape: string | undefined): readonly Step[] | undefined {
  const steps: Step[] = []
  let escaped = false
  for (const point of pattern) {
    if (escaped) {
      steps.push({ literal: point })
      escaped = false
    } else if (point === escape) escaped = true
    else if (point === '%' || point === '_') steps.push(point)
    else steps.push({ literal: point })
  }
  return escaped ? undefined : steps
}

/** Greedy with one point to come back to: at most pattern × text steps, whatever the pattern. */
export function matchPattern(steps: readonly Step[], value: Value): Truth {
  if (typeof value !== 'string') return undefined
  const points = Array.from(value)
  let at = 0
  let step = 0
  let resumeStep = -1
  let resumeAt = 0
  while (at < points.length) {
    const wanted = steps[step]
    if (wanted === '%') {
      resumeStep = ++step
      resumeAt = at
    } else if (wanted !== undefined && (wanted === '_' || wanted.literal === points[at])) {
      step++
      at++
    } else if (resumeStep >= 0) {
      step = resumeStep
      at = ++resumeAt
    } else return false
  }
  while (steps[step] === '%') step++
  return step === steps.length
}
