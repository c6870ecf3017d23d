import { codeOf, type ProblemKind, problemKinds, type ProblemName } from './problem-registry.ts'
import { Refusal } from './refusal.ts'

/** The page a problem's `type` leads to. */
export function problemPage(name: string): Response {
  if (!Object.hasOwn(problemKinds, name)) throw new Refusal('not-found')
  const kind: ProblemKind = problemKinds[name as ProblemName]
  const status = kind.status === undefined ? 'in the error of an operation' : `status ${kind.status}`
  const html = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>${name}: ${kind.title}</title>
<h1>${kind.title}</h1>
<p><code>${name}</code> · <code>${codeOf(name as ProblemName)}</code> · ${status}</p>
<p>${kind.page}</p>
</html>
`
  return new Response(html, {
    headers: { 'Content-Type': 'text/html; charset=utf-8', 'Cache-Control': 'public, max-age=86400' },
  })
}
