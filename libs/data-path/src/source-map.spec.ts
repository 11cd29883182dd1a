import { allocationContext } from '@casvault/block-source';
import { startMemoryNbdServer } from '@casvault/block-source/testing';
import { BLOCK_BYTES } from '@casvault/repository';
import { readSourceMap } from './source-map.js';

const { signal } = new AbortController();
const blocks = 16;
const bytes = Buffer.alloc(blocks * BLOCK_BYTES);

describe('what a source says before it is read', () => {
  it.each([
    ['R12: no map can be had: all blocks are read, and the reason given', {}, blocks, ['MAP_UNAVAILABLE']],
    [
      'only the blocks that its map calls allocated are read',
      {
        [allocationContext]: [
          [4 * BLOCK_BYTES, 0],
          [12 * BLOCK_BYTES, 3],
        ],
      },
      4,
      [],
    ],
  ] as const)('%s', async (_rule, contexts, expected, reasons) => {
    const server = await startMemoryNbdServer({ bytes, contexts });
    try {
      const map = await readSourceMap(server.endpoint, null, signal);
      expect(map.reasons).toEqual(reasons);
      expect(map.data.size).toBe(expected);
    } finally {
      await server.stop();
    }
  });
});
