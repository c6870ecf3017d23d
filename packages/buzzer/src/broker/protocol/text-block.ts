/**
 * Attributes, headers and content type of a message as one block of bytes. Most messages of a sender differ in little but
 * body, id and time, so the block holds what stays: what is a message's own stands outside it, and the block of the next
 * message is the same bytes again, which neither side makes or reads twice.
 *
 * ```
 * u8      1 the text is ASCII · 2 there is a content type
 * varint  number of attributes, varint number of headers
 * varints tokens: content type (if flagged), then name and value of each attribute, each header
 * text    UTF-8, one run: one native call decodes it, the literal pieces are substrings
 * ```
 * A token is `2 × length` for the next so many UTF-16 units of the text, or `2 × n + 1` for entry n of `dictionary`;
 * the first entries stand for what the record holds outside the block.
 */

/** Entries for what stands outside the block: the message's id, its time, its key, the next of its own texts. */
export const theId = 0
export const theTime = 1
export const theKey = 2
export const ownText = 3

/** The first entry that is a word. */
export const firstWord: number = ownText + 1

/** Part of the format: words are only ever added, at the end. The entries before them stand outside the block. */
export const dictionary: readonly string[] = [
  ...Array.from({ length: firstWord }, () => ''),
  ...`specversion 1.0 id type source time messagekind conversationid command event request response application/json
application/octet-stream basetypes partitionkey correlationid causationid expirytime priority dataref traceparent
tracestate replyto deferrals redrives originalid datacontenttype application/cloudevents+json 0 1 2 3 5 6 7 8 9`.split(
    /\s/,
  ),
]

/** Entry by word. */
export const words: ReadonlyMap<string, number> = new Map(
  dictionary.slice(firstWord).map((word, at) => [word, at + firstWord]),
)

/** Attributes that differ from message to message: kept outside, so that the block stays the same. */
export const ownNames: ReadonlySet<string> = new Set(
  'conversationid correlationid causationid partitionkey expirytime traceparent tracestate replyto dataref originalid'.split(
    ' ',
  ),
)

/** A longer text of a message's own goes into the block. */
export const longestOwnText = 1_024

/** Blocks remembered on each side. */
export const remembered = 64
/** In bytes. */
export const longestRemembered = 2_048
