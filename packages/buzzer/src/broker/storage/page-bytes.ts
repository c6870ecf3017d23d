/**
 * A page of entries ends behind the entry that passes this size, however many were asked for: a thousand messages of
 * 64 MiB would fit no frame and no memory. Who pages on by `next` notices nothing.
 */
export const pageBytes: number = 8 * 1024 * 1024
