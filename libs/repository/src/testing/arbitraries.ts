import fc from 'fast-check';
import { frameCodecs, type FrameCodec, type FrameRef } from '../frame.js';
import {
  BLOCK_BYTES,
  BLOCKS_PER_PAGE,
  ID_BYTES,
  PAGES_PER_SEGMENT,
  SEGMENT_SPAN_BYTES,
  type PackRef,
} from '../layout.js';
import { type Manifest } from '../manifest.js';
import { blocksInMask, type PackFrame, type PackTrailer } from '../pack.js';
import { NO_PLACE, placeOf, type MapPage } from '../page.js';
import { rootId, type MapSegment, type PageRef } from '../segment.js';
import { type Suite } from '../suite.js';
import { type FrameMove, type GroupEntry } from '../table.js';

/** Values of every structure of the format, for property tests here and of a separate reader. */
export const uuids = fc.uuid();
export const ids32 = fc
  .uint8Array({ minLength: ID_BYTES, maxLength: ID_BYTES })
  .map((bytes) => Buffer.from(bytes.map((byte, i) => (i === 0 ? byte | 1 : byte))));
const codecs = fc.constantFrom(...(Object.keys(frameCodecs) as FrameCodec[]));
const packs = (writers: readonly string[]): fc.Arbitrary<PackRef> =>
  fc.record({ writerId: fc.constantFrom(...writers), seq: fc.integer({ min: 0, max: 5 }) });
const writerLists = fc.uniqueArray(uuids, { minLength: 1, maxLength: 3 });

const lengths = (plainLength: number, sealBytes: number): fc.Arbitrary<[FrameCodec, number]> =>
  codecs.chain((codec) =>
    fc
      .integer({ min: codec === 'none' ? plainLength : 1, max: plainLength })
      .map((stored) => [codec, stored + sealBytes] as [FrameCodec, number]),
  );

function frameRefs(
  pack: fc.Arbitrary<PackRef>,
  plainLength: number,
  sealBytes: number,
): fc.Arbitrary<FrameRef> {
  return fc
    .record({
      pack,
      frame: fc.nat(65_535),
      offset: fc.nat(1_000_000),
      plainLength: fc.constant(plainLength),
      coded: lengths(plainLength, sealBytes),
    })
    .map(({ coded: [codec, storedLength], ...ref }) => ({ ...ref, codec, storedLength }));
}

/** Pages of a few groups, anywhere in the page; every frame has at least one block in use. */
export function pages(suite: Suite): fc.Arbitrary<MapPage> {
  const seal = suite.keys === null ? 0 : 28;
  const group = (writers: readonly string[]) =>
    fc.integer({ min: 1, max: 16 }).chain((blocks) =>
      fc.record({
        frame: frameRefs(packs(writers), blocks * BLOCK_BYTES - 5, seal),
        used: fc.uniqueArray(fc.nat(blocks - 1), { minLength: 1, maxLength: blocks }),
        id: ids32,
      }),
    );
  const groups = writerLists.chain((writers) =>
    fc.uniqueArray(fc.tuple(fc.nat(127), group(writers)), { selector: ([number]) => number, maxLength: 12 }),
  );
  return groups.map((list) => {
    const ids = Buffer.alloc(BLOCKS_PER_PAGE * ID_BYTES);
    const places = new Uint16Array(BLOCKS_PER_PAGE).fill(NO_PLACE);
    list.forEach(([number, { used, id }], index) => {
      for (const block of used) {
        const at = number * 16 + block;
        id.copy(ids, at * ID_BYTES);
        ids.writeUInt32LE(at + 1, at * ID_BYTES);
        places[at] = placeOf(index, block);
      }
    });
    return { ids, places, frames: list.map(([, { frame }]) => frame) };
  });
}

export function segments(suite: Suite): fc.Arbitrary<MapSegment> {
  const seal = suite.keys === null ? 0 : 28;
  return writerLists.chain((writers) =>
    fc
      .record({
        pages: fc.uniqueArray(
          fc.tuple(fc.nat(PAGES_PER_SEGMENT - 1), ids32, frameRefs(packs(writers), 72_000, seal)),
          { selector: ([number]) => number, maxLength: 20 },
        ),
        uses: fc.uniqueArray(fc.record({ pack: packs(writers), pages: fc.integer({ min: 1, max: 1024 }) }), {
          selector: ({ pack }) => `${pack.writerId}/${pack.seq}`,
          maxLength: 8,
        }),
      })
      .map((made) => {
        const ids = Buffer.alloc(PAGES_PER_SEGMENT * ID_BYTES);
        const list: (PageRef | null)[] = Array.from({ length: PAGES_PER_SEGMENT }, () => null);
        for (const [number, id, frame] of made.pages) {
          id.copy(ids, number * ID_BYTES);
          list[number] = { ...frame, blocks: 1 + (number % 2048) };
        }
        return { ids, pages: list, uses: made.uses };
      }),
  );
}

const packFrames = (relocated: boolean): fc.Arbitrary<PackFrame> =>
  fc
    .record({
      kind: fc.constantFrom('data', 'page', 'segment' as const),
      mask: fc.integer({ min: 1, max: 0xffff }),
      short: fc.nat(BLOCK_BYTES - 1),
      disk: fc.nat(65_535),
      number: fc.nat(0xffff_ffff),
      storedHash: ids32,
      id: ids32,
      origin: fc.record({ pack: packs(['00000000-0000-4000-8000-000000000001']), frame: fc.nat(65_535) }),
    })
    .chain(({ mask, short, id, origin, ...frame }) => {
      const blocks = blocksInMask(mask);
      const plainLength = frame.kind === 'data' ? blocks * BLOCK_BYTES - short : 1000 + short;
      return lengths(plainLength, 0).map(([codec, storedLength]) => ({
        ...frame,
        kind: frame.kind,
        codec,
        storedLength,
        plainLength,
        offset: 0,
        mask: frame.kind === 'data' ? mask : 0,
        ids: Buffer.concat(Array.from({ length: frame.kind === 'data' ? blocks : 1 }, () => id)),
        origin: relocated ? origin : null,
      }));
    });

export const trailers: fc.Arbitrary<PackTrailer> = fc.boolean().chain((relocated) =>
  fc
    .record({
      repositoryId: uuids,
      chainId: fc.option(uuids),
      pack: fc.record({ writerId: uuids, seq: fc.nat(0xffff_ffff) }),
      frames: fc.array(packFrames(relocated), { maxLength: 12 }),
    })
    .map((trailer) => {
      let offset = 0;
      const frames = trailer.frames.map((frame) => {
        const at = offset;
        offset += frame.storedLength;
        return { ...frame, offset: at };
      });
      return { ...trailer, frames };
    }),
);

export const groupIndexes: fc.Arbitrary<GroupEntry[]> = writerLists.chain((writers) =>
  fc
    .uniqueArray(fc.record({ groupId: ids32, pack: packs(writers), frame: fc.nat(65_535) }), {
      selector: ({ groupId }) => groupId.toString('hex'),
      maxLength: 30,
    })
    .map((entries) => entries.sort((a, b) => a.groupId.compare(b.groupId))),
);

export const relocations: fc.Arbitrary<FrameMove[]> = writerLists.chain((writers) =>
  fc.array(
    fc.record({
      from: fc.record({ pack: packs(writers), frame: fc.nat(65_535) }),
      to: fc.record({ pack: packs(writers), offset: fc.nat(60_000_000) }),
    }),
    { maxLength: 30 },
  ),
);

const instants = fc
  .date({ min: new Date('2000-01-01T00:00:00Z'), max: new Date('2100-01-01T00:00:00Z'), noInvalidDate: true })
  .map((date) => date.toISOString());

function disks(suite: Suite) {
  const sizes = fc.oneof(fc.nat(10_000_000), fc.constant(3 * SEGMENT_SPAN_BYTES + 1));
  return fc
    .record({ sizeBytes: sizes, id: ids32, diskId: uuids, target: fc.string({ minLength: 1 }) })
    .map((made) => {
      const count = Math.ceil(made.sizeBytes / SEGMENT_SPAN_BYTES);
      return {
        diskId: made.diskId,
        target: made.target,
        role: 'data' as const,
        bus: 'virtio',
        format: 'qcow2' as const,
        sizeBytes: made.sizeBytes,
        usedBlocks: 3,
        root: rootId(
          made.sizeBytes,
          Array.from({ length: count }, () => made.id),
          suite.identify,
        ).toString('hex'),
        segments: Array.from({ length: count }, (_, i) =>
          i === 1
            ? null
            : {
                id: made.id.toString('hex'),
                writerId: made.diskId,
                seq: i,
                frame: 2,
                offset: 0,
                storedLength: 90,
                plainLength: 300,
                codec: 'zstd' as const,
              },
        ),
        stats: { dataBytes: 5, readBytes: 4, resumedBytes: 1, sameBytes: 0, newBytes: 5, storedBytes: 3 },
        lineage: null,
        reasons: [],
        tracked: false,
      };
    });
}

export function manifests(suite: Suite): fc.Arbitrary<Manifest> {
  return fc.record({
    inventory: fc.record({
      repositoryId: fc.constant(suite.repositoryId),
      chainId: uuids,
      pointId: uuids,
      parentPointId: fc.option(uuids),
      kind: fc.constantFrom('full', 'incremental'),
      createdAt: instants,
      packs: fc.constant([]),
    }),
    facts: fc.record({
      capturedAt: instants,
      method: fc.constantFrom('live', 'offline'),
      consistency: fc.constantFrom('file-system', 'crash'),
      packBytes: fc.nat(),
      vm: fc.record({
        vmId: uuids,
        uuid: uuids,
        name: fc.string(),
        platformName: fc.string({ unit: 'grapheme' }),
        platformVersion: fc.string(),
      }),
      // As JSON keeps it: -0 becomes 0.
      configuration: fc
        .dictionary(fc.string(), fc.jsonValue(), { noNullPrototype: true, maxKeys: 3 })
        .map((value) => JSON.parse(JSON.stringify(value)) as Record<string, unknown>),
      disks: fc.array(disks(suite), { maxLength: 3 }),
      excludedDisks: fc.array(fc.record({ target: fc.string(), reason: fc.string() }), { maxLength: 2 }),
      tools: fc.constant({ casvault: '0.1.0' }),
    }),
  });
}
