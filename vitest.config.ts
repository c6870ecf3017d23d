import { defineConfig } from 'vitest/config'

// Tests read the sources: the condition is declared by our packages alone, and nothing of it is published behaviour.
// Child processes get it by `--conditions=buzzer-source`. Only conditions that hold for `require` too: the tests' processes
// start with them, and `import` among them would give CommonJS packages the modules meant for `import`.
const conditions = ['buzzer-source', 'node']

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: [
      'packages/*/src/**/*.test.ts',
      'packages/*/{test,soak,faults}/**/*.test.ts',
      'examples/*/**/*.test.ts',
      'bench/src/**/*.test.ts',
      'servers/src/**/*.test.ts',
      'tools/**/*.test.ts',
    ],
    exclude: ['**/node_modules/**', '**/dist/**'],
    pool: 'forks',
    // Half of the tests wait for a server or a disk.
    maxWorkers: 2,
    globalSetup: ['./servers/src/vitest-setup.ts'],
    reporters: ['default', './servers/src/skip-report.ts'],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    typecheck: { enabled: true, tsconfig: './tsconfig.checks.json', include: ['packages/*/src/**/*.test-d.ts'] },
  },
})
