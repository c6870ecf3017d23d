import { checkHeaders, checkName } from '../message/index.ts'
import { checkNames, checkNumber, checkOneOf, checkQueueOptions, invalidOption } from './option-check.ts'
import type { BusOptions } from './options.ts'

const busNames = new Set(
  (
    'name transport store instanceId defaults validate codecs cloudEvents propagateHeaders faults sendTimeoutMs outbox ' +
    'claimCheck telemetry logger clock random'
  ).split(' '),
)

const outboxNames = new Set(['maxAttempts', 'backoffMs', 'pollMs', 'leaseMs'])

/** Checks the options of a bus. @throws BUZZER_INVALID_NAME, BUZZER_INVALID_OPTION */
export function checkBusOptions(options: BusOptions<unknown, unknown>): void {
  if (typeof options !== 'object' || options === null)
    throw invalidOption('options', options, 'an object with name and transport')
  checkNames('createBus', options, busNames)
  checkName('bus', options.name)
  if (typeof options.transport?.connect !== 'function') {
    throw invalidOption('transport', options.transport, 'a transport, like memory() or embedded({ path })')
  }
  checkOneOf('validate', options.validate, ['both', 'send', 'receive', 'none'])
  checkOneOf('cloudEvents', options.cloudEvents, ['binary', 'structured'])
  checkOneOf('faults', options.faults, ['publish', 'none'])
  checkNumber('sendTimeoutMs', options.sendTimeoutMs, 1)
  if (options.defaults !== undefined) checkQueueOptions(options.defaults)
  if (options.outbox !== undefined) {
    checkNames('outbox', options.outbox, outboxNames)
    for (const [name, value] of Object.entries(options.outbox)) checkNumber(`outbox.${name}`, value, 1)
  }
  if (options.claimCheck !== undefined) {
    checkNames('claimCheck', options.claimCheck, new Set(['blobs', 'thresholdBytes', 'retentionMs']))
    checkNumber('claimCheck.thresholdBytes', options.claimCheck.thresholdBytes, 0)
    checkNumber('claimCheck.retentionMs', options.claimCheck.retentionMs, 0)
  }
  if (options.propagateHeaders !== undefined) {
    checkHeaders(Object.fromEntries(options.propagateHeaders.map(name => [name, ''])))
  }
  if (options.instanceId !== undefined && !/^[a-z0-9]+(-[a-z0-9]+)*$/.test(options.instanceId)) {
    throw invalidOption(
      'instanceId',
      options.instanceId,
      "lower-case letters, digits and '-': it becomes part of queue names",
    )
  }
}
