import { describe, expect, it } from 'vitest'
import * as fc from 'fast-check'
import { FrameSplitter, framePrefix } from './frame-splitter.ts'

describe('the frame splitter', () => {
  it('gives back the frames of a stream however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }),
        fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1 }),
        (frames, cuts) => {
          const stream = Buffer.concat(frames.flatMap(frame => [framePrefix(frame.length), frame]))
          const splitter = new FrameSplitter()
          const got: Uint8Array[] = []
          for (let at = 0, turn = 0; at < stream.length; turn++) {
            const size = cuts[turn % cuts.length] as number
            splitter.push(stream.subarray(at, at + size), frame => got.push(frame))
            at += size
          }
          expect(got.map(frame => [...frame])).toEqual(frames.map(frame => [...frame]))
          // Each lies in a buffer of its own, so that it can be transferred.
          for (const frame of got) expect(frame.buffer.byteLength).toBe(frame.byteLength)
        },
      ),
      { seed: 3 },
    )
  })

  it('refuses a frame beyond the limit as soon as its length is known', () => {
    const splitter = new FrameSplitter(100)
    expect(() => splitter.push(framePrefix(101), () => {})).toThrowError(
      expect.objectContaining({ code: 'BUZZER_PROTOCOL_MISMATCH' }),
    )
  })
})
