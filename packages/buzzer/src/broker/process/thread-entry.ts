/** The file of this folder that a thread begins with; beside the sources it is TypeScript, in the package JavaScript. */
export function threadEntry(name: 'main' | 'file-work-main'): URL {
  return new URL(`./${name}${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url)
}

/**
 * A thread of ours needs nothing of how the program was started (preloads, conditions, V8 flags, some of which no thread
 * takes), a profiler excepted. Node 24 still calls its SQLite experimental on stderr: no news to who installed a broker
 * on it.
 */
export function threadArguments(given: readonly string[] = process.execArgv): string[] {
  const profiler = given.filter((argument, at) => {
    if (argument.startsWith('--cpu-prof')) return true
    // `--cpu-prof-interval 200`: the value is an argument of its own.
    const before = given[at - 1] ?? ''
    return before.startsWith('--cpu-prof-') && !before.includes('=')
  })
  return ['--disable-warning=ExperimentalWarning', ...profiler]
}
