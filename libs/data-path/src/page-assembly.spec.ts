import fc from 'fast-check';
import {
  blockOfPlace,
  frameOfPlace,
  idAt,
  isZeroId,
  NO_PLACE,
  openSuite,
  type FrameRef,
  type MapPage,
} from '@casvault/repository';
import { pages } from '@casvault/repository/testing';
import { PackJobs } from './pack-jobs.js';
import { PageAssembly } from './page-assembly.js';
import { blockStates, emptySliceResult } from './slice.js';

const suite = openSuite({
  repositoryId: '0192f0c0-0000-7000-8000-00000000aaaa',
  hash: 'blake3-256',
  masterKey: null,
});
const ref: FrameRef = {
  pack: { writerId: '0192f0c0-0000-7000-8000-00000000bbbb', seq: 9 },
  frame: 1,
  offset: 77,
  storedLength: 500,
  plainLength: 2 * 65_536,
  codec: 'zstd',
};
/** What a page says of a block, without the page's own numbering. */
const meaning = (page: MapPage, block: number) => {
  const place = page.places[block]!;
  if (place === NO_PLACE) return null;
  return {
    id: idAt(page.ids, block).toString('hex'),
    frame: page.frames[frameOfPlace(place)],
    at: blockOfPlace(place),
  };
};

it('a page of which all is inherited is the same page, without frames that nobody needs', () => {
  fc.assert(
    fc.property(pages(suite), (parent) => {
      const assembly = new PageAssembly({ ...parent, frames: [...parent.frames, ref] });
      for (let block = 0; block < 2_048; block += 1) assembly.inherit(block);
      const page = assembly.finish();
      expect(page.frames).toHaveLength(parent.frames.length);
      for (let block = 0; block < 2_048; block += 1)
        expect(meaning(page, block)).toEqual(meaning(parent, block));
    }),
    { numRuns: 10 },
  );
});

it('a slice changes what it says, block by block', () => {
  fc.assert(
    fc.property(pages(suite), fc.nat(7), (parent, slice) => {
      const assembly = new PageAssembly(parent);
      for (let block = 0; block < 2_048; block += 1) assembly.inherit(block);
      const result = emptySliceResult();
      const base = slice * 256;
      result.states[0] = blockStates.zero;
      result.states[1] = blockStates.same;
      for (const i of [34, 37]) {
        result.states[i] = blockStates.stored;
        result.ids.fill(i, i * 32, (i + 1) * 32);
      }
      result.frames.push({ group: 2, mask: 0b100100, ref });
      assembly.absorb(slice, result);
      const page = assembly.finish();
      expect(meaning(page, base)).toBeNull();
      expect(meaning(page, base + 1)).toEqual(meaning(parent, base + 1));
      expect(meaning(page, base + 34)).toEqual({
        id: Buffer.alloc(32, 34).toString('hex'),
        frame: ref,
        at: 0,
      });
      expect(meaning(page, base + 37)).toEqual({
        id: Buffer.alloc(32, 37).toString('hex'),
        frame: ref,
        at: 1,
      });
      expect(meaning(page, base + 38)).toEqual(meaning(parent, base + 38));
    }),
    { numRuns: 20 },
  );
});

it('pack jobs fetch every block of their pages once, frame by frame', () => {
  fc.assert(
    fc.property(pages(suite), pages(suite), (a, b) => {
      const jobs = new PackJobs();
      jobs.add(0, a, null);
      jobs.add(5, b, null);
      const seen = new Map<number, string>();
      for (const job of jobs.take()) {
        let row = 0;
        let last = -1;
        for (let at = 0; at < job.frames.length; at += 6) {
          expect(job.frames[at + 1]).toBeGreaterThan(last);
          last = job.frames[at + 1]!;
          for (const end = row + job.frames[at + 5]!; row < end; row += 1) {
            seen.set(
              job.blocks[row * 2]!,
              Buffer.from(job.ids.subarray(row * 32, row * 32 + 32)).toString('hex'),
            );
          }
        }
        expect(job.ids).toHaveLength(row * 32);
      }
      for (const [number, page] of [
        [0, a],
        [5, b],
      ] as const) {
        for (let block = 0; block < 2_048; block += 1) {
          const id = idAt(page.ids, block);
          expect(seen.get(number * 2_048 + block)).toBe(isZeroId(id) ? undefined : id.toString('hex'));
        }
      }
      expect(jobs.take()).toEqual([]);
    }),
    { numRuns: 5 },
  );
});
