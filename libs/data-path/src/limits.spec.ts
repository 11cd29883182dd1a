import { Fault } from '@casvault/contracts';
import { MemoryObjectStore } from '@casvault/object-store/testing';
import { limitCells, limitDisk, limitStore, packLimit } from './limits.js';
import { PACK_BYTES } from './pack-writer.js';
import { newCredit, SharedCredit } from './shared-credit.js';

const mib = 1_048_576;
const { signal } = new AbortController();
const settled = async (): Promise<void> => {
  for (let i = 0; i < 8; i += 1) await new Promise((resolve) => setImmediate(resolve));
};
const cells = () => ({ transfer: newCredit(0), disk: newCredit(0) });

/** Puts wait until they are let go, and are counted. */
class Held extends MemoryObjectStore {
  under = 0;
  most = 0;
  #go: (() => void)[] = [];

  override async put(...call: Parameters<MemoryObjectStore['put']>): Promise<void> {
    const { length } = call[1] as Uint8Array;
    this.under += length;
    this.most = Math.max(this.most, this.under);
    await new Promise<void>((resolve) => this.#go.push(resolve));
    this.under -= length;
    if (call[0].endsWith('bad')) throw new Fault('POOL_UNREACHABLE', 'away');
    await super.put(...call);
  }

  letGo(): void {
    for (const go of this.#go.splice(0)) go();
  }
}

describe('what is on its way to a pool and not acknowledged', () => {
  it('is never more than may be, whoever puts it, and a failed put gives its room back', async () => {
    const limits = limitCells(undefined, 10 * mib, 3);
    const held = new Held();
    const stores = [1, 2, 3].map(() => limitStore(held, limits));
    const puts = Array.from({ length: 12 }, (_, i) =>
      stores[i % 3]!.put(`packs/${i}${i === 4 ? 'bad' : ''}`, Buffer.alloc(4 * mib - i * 1_000)),
    );
    const all = Promise.allSettled(puts);
    for (let i = 0; i < 12; i += 1) {
      await settled();
      held.letGo();
    }
    expect((await all).filter(({ status }) => status === 'rejected')).toHaveLength(1);
    expect(held.most).toBeGreaterThan(7 * mib);
    expect(held.most).toBeLessThanOrEqual(10 * mib);
  });

  it('makes packs smaller only where it must', () => {
    const packs = (mebibytes: number, writers: number) =>
      packLimit(limitCells(undefined, mebibytes * mib, writers))!() / mib;
    expect(packs(10, 1)).toBe(PACK_BYTES / mib);
    expect(packs(10, 2)).toBe(4);
    expect(packs(10, 5)).toBe(4);
    expect(packs(100, 5)).toBe(PACK_BYTES / mib);
    expect(packs(4, 1)).toBeLessThan(3);
    expect(packs(1, 5) * mib).toBe(1);
    expect(packLimit(limitCells(undefined, undefined, 2))).toBeUndefined();
  });
});

describe('a limited speed', () => {
  it('costs nothing where there is none', () => {
    const store = new MemoryObjectStore();
    expect(limitStore(store, limitCells(undefined, undefined, 1))).toBe(store);
  });

  it('counts what is put and what is got, in pieces where that can be', async () => {
    const speed = cells();
    const credit = new SharedCredit(speed.transfer);
    credit.bound(mib);
    const asked: number[] = [];
    class Asked extends MemoryObjectStore {
      override get(...call: Parameters<MemoryObjectStore['get']>): Promise<Uint8Array> {
        asked.push(call[1]?.range?.length ?? 0);
        return super.get(...call);
      }
    }
    const store = limitStore(new Asked(), { speed });
    credit.fill(1);
    const bytes = Buffer.from(Array.from({ length: 3 * mib }, (_, i) => i % 251));
    await store.put('object', bytes);
    const into = Buffer.alloc(3 * mib);
    const got = store.get('object', { range: { offset: 0, length: 2.5 * mib }, into });
    await settled();
    expect(asked).toEqual([]);
    for (let i = 0; i < 12; i += 1) {
      credit.fill(1_024);
      await settled();
    }
    expect(Buffer.from(await got).equals(bytes.subarray(0, 2.5 * mib))).toBe(true);
    expect(asked).toEqual([mib, mib, mib / 2]);
  });

  it('moves the bytes of a disk in pieces on block boundaries, and waits for all of them when one fails', async () => {
    const speed = cells();
    const credit = new SharedCredit(speed.disk);
    credit.bound(150_000);
    const moved: [number, number][] = [];
    let under = 0;
    const disk = limitDisk(
      {
        read: async (offset, into) => {
          under += 1;
          moved.push([offset, into.length]);
          await settled();
          under -= 1;
          if (offset === 65_536 * 4) throw new Fault('NBD_IO', 'bad block');
        },
        write: () => Promise.reject(new Fault('BUG', 'not asked')),
      },
      { speed },
      signal,
    );
    const pump = setInterval(() => credit.fill(1_000), 1);
    await expect(disk.read(0, Buffer.alloc(mib))).rejects.toMatchObject({ code: 'NBD_IO' });
    clearInterval(pump);
    expect(under).toBe(0);
    expect(moved.slice(0, 3)).toEqual([
      [0, 131_072],
      [131_072, 131_072],
      [262_144, 131_072],
    ]);
  });

  it('of none still cuts requests to what is asked for', async () => {
    const lengths: number[] = [];
    const write = async (_: number, from: Uint8Array): Promise<void> => void lengths.push(from.length);
    const disk = limitDisk({ read: write, write }, { requestBytes: 65_536 }, signal);
    await disk.write(0, Buffer.alloc(150_000));
    await disk.write(0, Buffer.alloc(1_000));
    expect(lengths).toEqual([65_536, 65_536, 18_928, 1_000]);
  });

  it('ends its waiting when the work does', async () => {
    const speed = cells();
    new SharedCredit(speed.transfer).bound(mib);
    const end = new AbortController();
    const put = limitStore(new MemoryObjectStore(), { speed }).put('object', Buffer.alloc(10), {
      signal: end.signal,
    });
    end.abort(new Fault('LEASE_LOST', 'another has it'));
    await expect(put).rejects.toMatchObject({ code: 'LEASE_LOST' });
  });
});
