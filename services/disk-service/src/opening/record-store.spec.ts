import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newId, type Logger, type OpeningId } from '@casvault/contracts';
import { RecordStore } from './record-store.js';
import { isSameRequest, openingRecordSchema, toOpening, type OpeningRecord } from './record.js';

const maker = newId<OpeningId>();
const record = (more: Partial<OpeningRecord> = {}): OpeningRecord => ({
  version: 1,
  openingId: newId<OpeningId>(),
  request: {
    kind: 'capture',
    vm: { uuid: '08233862-411c-4f09-974f-9c3cf8e5295c', name: 'vm' },
    disks: [{ target: 'vda', path: '/vms/a' }],
    leaseSeconds: 60,
  },
  state: 'open',
  method: 'live',
  address: '10.0.0.1',
  tls: true,
  openedAt: '2026-01-01T00:00:00.000Z',
  leaseUntil: '2026-01-01T00:01:00.000Z',
  checkpoint: 'c2',
  consistency: 'crash',
  reasons: [],
  mayBeFrozen: false,
  keepCheckpoint: false,
  lostBecause: null,
  interrupted: false,
  keepUntil: null,
  disks: [
    {
      target: 'vda',
      path: '/vms/a',
      format: 'qcow2',
      sizeBytes: 512,
      port: 10_000,
      bitmapSince: 'c1',
      bitmapReason: null,
      bitmapMadeBy: maker,
      isTracked: true,
      generation: 'i/r',
      snapshotId: null,
    },
  ],
  ...more,
});

describe('records', () => {
  let dir: string;
  let said: string[];
  const logger: Logger = {
    debug: () => undefined,
    info: () => undefined,
    warn: () => undefined,
    error: (_, message) => said.push(message),
  };
  beforeEach(async () => {
    said = [];
    dir = await mkdtemp(join(tmpdir(), 'casvault-records-'));
  });
  afterEach(async () => {
    await rm(dir, { recursive: true });
  });

  test('are there again after a restart, as they were last saved', async () => {
    const store = new RecordStore(dir);
    await store.load(logger);
    const [kept, gone] = [record(), record()];
    await store.save({ ...kept, state: 'opening' });
    await store.save(gone);
    await store.save(kept);
    await store.remove(gone.openingId);
    const next = new RecordStore(dir);
    await next.load(logger);
    expect(next.all()).toEqual([kept]);
    expect(next.get(gone.openingId)).toBeUndefined();
  });

  test('that are damaged are told of and left alone; half-written ones are dropped', async () => {
    const store = new RecordStore(dir);
    await store.load(logger);
    const folder = join(dir, 'openings');
    await writeFile(join(folder, 'a.json'), '{"version":2}');
    await writeFile(join(folder, 'b.json.tmp'), '{');
    await store.load(logger);
    expect(store.all()).toEqual([]);
    expect(await readdir(folder)).toEqual(['a.json']);
    expect(await readFile(join(folder, 'a.json'), 'utf8')).toBe('{"version":2}');
    expect(said).toHaveLength(1);
  });

  test('say the same request apart from another', () => {
    const { request } = record();
    expect(isSameRequest(request, { ...request, leaseSeconds: 5 })).toBe(true);
    expect(isSameRequest(request, structuredClone(request))).toBe(true);
    expect(isSameRequest(request, { ...request, checkpoint: 'x' } as typeof request)).toBe(false);
  });

  test('are shown to callers with the bitmap as it is named on the wire', () => {
    expect(openingRecordSchema.parse(record())).toEqual(
      record({ openingId: expect.any(String) as OpeningId }),
    );
    const [live] = toOpening(record()).disks;
    expect(live).toEqual({
      target: 'vda',
      host: '10.0.0.1',
      port: 10_000,
      exportName: 'vda',
      tls: true,
      sizeBytes: 512,
      format: 'qcow2',
      writable: false,
      bitmapContext: 'qemu:dirty-bitmap:backup-vda',
      bitmapReason: null,
      bitmapMadeBy: maker,
      checkpointed: true,
      generation: 'i/r',
    });
    const [full] = toOpening(record({ checkpoint: null })).disks;
    expect(full?.checkpointed).toBe(false);
    expect(toOpening(record({ method: 'offline' })).disks[0]?.bitmapContext).toBe('qemu:dirty-bitmap:c1');
  });
});
