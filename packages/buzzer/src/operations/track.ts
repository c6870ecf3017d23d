import { type BusPort, portOf } from '../bus/index.ts'
import { operationTracker } from './operation-tracker.ts'
import { trackingOf } from './tracking.ts'

/**
 * Lets a bus follow the operations of the commands it handles. Done by the package's `createBus` for every bus, so that a
 * worker needs no line of its own; must come before `start()`. A bus without store follows nothing.
 */
export function attachTracking(bus: Parameters<typeof portOf>[0]): void {
  const port: BusPort = portOf(bus)
  port.track(operationTracker(() => (port.store === undefined ? undefined : trackingOf(port))))
}
