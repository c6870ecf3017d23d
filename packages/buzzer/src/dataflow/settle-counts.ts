interface Unsettled {
  settleMidway(): void
}

let unsettled: Unsettled | undefined

/** A loop over several stages begins, whose counts are not in place until it ends or somebody asks. */
export function beginUnsettled(run: Unsettled): void {
  unsettled = run
}

export function endUnsettled(): void {
  unsettled = undefined
}

/** To be called before a block is looked at or changed from outside: a function of such a loop may be on the stack. */
export function settleCounts(): void {
  if (unsettled !== undefined) unsettled.settleMidway()
}
