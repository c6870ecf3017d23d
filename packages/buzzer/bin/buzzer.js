#!/usr/bin/env node
// The guard in front of the command: plain enough for any Node to parse, so that an old one gets a sentence, not a stack.
const version = process.versions.node.split('.').map(Number)
if (version[0] < 24 || (version[0] === 24 && version[1] < 16)) {
  console.error('buzzer needs Node 24.16 or newer; this is Node ' + process.versions.node + '.')
  process.exit(1)
}
void import('../dist/cli/main.js')
