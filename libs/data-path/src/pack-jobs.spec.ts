import { ID_BYTES } from '@casvault/repository';
import fc from 'fast-check';
import { partsWithin } from './pack-jobs.js';
import { frameFields, type PackJob } from './restore-thread.js';

/** Frames of so many stored bytes and blocks each; every field tells where it is from. */
const jobOf = (frames: readonly { stored: number; blocks: number }[]): PackJob => {
  const rows = frames.reduce((sum, { blocks }) => sum + blocks, 0);
  return {
    pack: { writerId: 'writer', seq: 1 },
    frames: Uint32Array.from(frames.flatMap(({ stored, blocks }, i) => [i, i * 1_000, stored, 1, 0, blocks])),
    blocks: Float64Array.from({ length: rows * 2 }, (_, i) => i),
    ids: Uint8Array.from({ length: rows * ID_BYTES }, (_, i) => i),
  };
};
const storedBytes = ({ frames }: PackJob): number =>
  frames.reduce((sum, value, i) => sum + (i % frameFields === 2 ? value : 0), 0);

describe('parts of a pack job', () => {
  const frame = fc.record({
    stored: fc.integer({ min: 1, max: 100 }),
    blocks: fc.integer({ min: 1, max: 4 }),
  });

  it('are the job, in order, each within its bytes or of one frame', () => {
    fc.assert(
      fc.property(
        fc.array(frame, { minLength: 1, maxLength: 12 }),
        fc.integer({ min: 1, max: 300 }),
        (frames, bytes) => {
          const job = jobOf(frames);
          const parts = [...partsWithin(job, bytes)];
          expect(parts.flatMap((part) => [...part.frames])).toEqual([...job.frames]);
          expect(parts.flatMap((part) => [...part.blocks])).toEqual([...job.blocks]);
          expect(parts.flatMap((part) => [...part.ids])).toEqual([...job.ids]);
          for (const part of parts) {
            expect(part.frames.length === frameFields || storedBytes(part) <= bytes).toBe(true);
            const blocks = part.frames.filter((_, i) => i % frameFields === frameFields - 1);
            expect(blocks.reduce((sum, count) => sum + count, 0) * 2).toBe(part.blocks.length);
          }
        },
      ),
    );
  });

  it('are the job itself where nothing bounds them', () => {
    const job = jobOf([
      { stored: 10, blocks: 1 },
      { stored: 20, blocks: 2 },
    ]);
    expect([...partsWithin(job, Infinity)]).toEqual([job]);
  });
});
