/**
 * Recovers a file in a process of its own, so that a time limit can stand outside of it. Exits with 0 when the file was
 * served; with 3 when it was refused, the code of the error being on the standard output.
 *
 *   node recover-process.ts <database> <folder of journals>
 */
import { isBuzzerError } from '../src/message/index.ts'
import { recover } from './recovery.ts'

const [path = '', journals = ''] = process.argv.slice(2)
try {
  await recover(path, journals)
} catch (error) {
  if (!isBuzzerError(error)) throw error
  console.log(error.code)
  console.error(error.message)
  process.exitCode = 3
}
