import { BuzzerError } from '../../message/index.ts'

/** The size of a page: 1 to 1,000, or left out. @throws BUZZER_INVALID_OPTION */
export function checkPageLimit(limit: number | undefined): void {
  if (limit === undefined || (Number.isInteger(limit) && limit >= 1 && limit <= 1_000)) return
  throw new BuzzerError('BUZZER_INVALID_OPTION', `limit: ${limit} is not possible; a page has 1 to 1,000 entries`, {
    details: { option: 'limit', value: limit },
  })
}
