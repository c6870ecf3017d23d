export * from './state-change.ts'
export * from './store.ts'
export * from './stores/memory.ts'
