import { type PrivatePostgres, ServerUnavailable, startPostgres } from 'buzzer-servers'

/** A server of the test's own, or why there can be none here: the tests that need it are then skipped aloud. */
export async function privatePostgres(
  settings: Readonly<Record<string, string>> = {},
): Promise<
  | { readonly server: PrivatePostgres; readonly reason?: undefined }
  | { readonly server?: undefined; readonly reason: string }
> {
  try {
    return { server: await startPostgres(settings) }
  } catch (error) {
    if (
      error instanceof ServerUnavailable &&
      !(process.env['BUZZER_TEST_REQUIRE'] ?? '').split(',').includes('postgres')
    ) {
      return { reason: error.message }
    }
    throw error
  }
}
