import { BuzzerError } from '../message/index.ts'

/** The error of `start()`: everything that is wrong, at once. */
export class ConfigurationError extends BuzzerError {
  override readonly name = 'ConfigurationError'
  readonly problems: readonly string[]

  constructor(bus: string, problems: readonly string[]) {
    super('BUZZER_CONFIGURATION', `bus ${bus} cannot start:\n- ${problems.join('\n- ')}`, { details: { problems } })
    this.problems = problems
  }
}
