import { execFile } from 'node:child_process';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Fault } from '@casvault/contracts';
import { RunningProcess, tempDir, type TempDir } from '@casvault/testkit';
import { type ObjectStore, openObjectStore } from '../src/index.js';

const run = promisify(execFile);
const script = (name: string, ...args: string[]): RunningProcess =>
  new RunningProcess(process.execPath, [join(import.meta.dirname, `${name}.js`), ...args]);
const codeOf = (action: Promise<unknown>): Promise<string> =>
  action.then(
    () => 'no fault',
    (error: unknown) => Fault.from(error).code,
  );

let dir: TempDir;
let root: string;
let store: ObjectStore;
beforeEach(async () => {
  dir = await tempDir('fs-store');
  root = join(dir.path, 'pool');
  await mkdir(root);
  store = openObjectStore({ kind: 'fs', path: root });
});
afterEach(() => dir.remove());

describe('a file system store whose writer is killed', () => {
  it('shows whole objects only, and the next writer clears away the rest', async () => {
    let leftovers = 0;
    let objects = 0;
    for (let round = 0; round < 6; round += 1) {
      const writer = script('put-until-killed', root, String(round));
      await writer.sees(/writing/);
      await sleep(20 + round * 17);
      await writer.kill9();
      leftovers += (await readdir(join(root, '@tmp'))).length;
      for await (const { key, sizeBytes } of store.list('')) {
        const body = await store.get(key);
        expect([2 * 1024 * 1024, 100_000, 1]).toContain(sizeBytes);
        expect(Buffer.compare(body, Buffer.alloc(sizeBytes, body[0]))).toBe(0);
        objects += 1;
      }
      await openObjectStore({ kind: 'fs', path: root }).put('next', Buffer.alloc(1, 1));
      expect(await readdir(join(root, '@tmp'))).toEqual([]);
    }
    expect(objects).toBeGreaterThan(50);
    // Otherwise no writer was killed in the middle of a put, and this proved nothing.
    expect(leftovers).toBeGreaterThan(0);
  });

  it('has one winner of every claim among processes', async () => {
    const names = ['a', 'b', 'c', 'd'];
    const racers = names.map((name) => script('claim-all', root, name, '60'));
    for (const racer of racers) expect(await racer.exited).toBe(0);
    const won = new Map<string, string>();
    for (const [index, racer] of racers.entries()) {
      for (const [, claim = ''] of racer.output.matchAll(/won ([0-9]+)/g)) {
        expect(won.has(claim)).toBe(false);
        won.set(claim, names[index] ?? '');
      }
    }
    expect(won.size).toBe(60);
    for (const [claim, name] of won) {
      expect(Buffer.from(await store.get(`claims/${claim}`)).toString()).toBe(name);
    }
  });
});

describe('a file system store on a small or locked medium', () => {
  const mount = (...options: string[]): Promise<unknown> =>
    run('mount', ['-t', 'tmpfs', '-o', ...options, 'none', root]);
  afterEach(() => run('umount', [root]));

  it('says that it is full, keeps nothing of the object, and goes on when there is room', async () => {
    await mount('size=4m');
    await store.put('first', Buffer.alloc(3 * 1024 * 1024, 1));
    expect(await codeOf(store.put('second', Buffer.alloc(3 * 1024 * 1024, 2)))).toBe('POOL_FULL');
    expect(await codeOf(store.put('second', Buffer.alloc(3 * 1024 * 1024, 2), { ifAbsent: true }))).toBe(
      'POOL_FULL',
    );
    expect(await store.stat('second')).toBeNull();
    expect(await readdir(join(root, '@tmp'))).toEqual([]);
    const { capacityBytes, freeBytes } = await store.usage();
    expect([capacityBytes, freeBytes]).toEqual([4 * 1024 * 1024, 1024 * 1024]);
    await store.delete('first');
    await store.put('second', Buffer.alloc(3 * 1024 * 1024, 2));
  });

  it('says that it may not write where all is read-only, and still reads', async () => {
    await mount('size=4m');
    await store.put('one', Buffer.from('1'));
    await run('mount', ['-o', 'remount,ro', root]);
    expect(await codeOf(store.put('two', Buffer.from('2')))).toBe('POOL_ACCESS_DENIED');
    expect(await codeOf(store.delete('one'))).toBe('POOL_ACCESS_DENIED');
    expect(Buffer.from(await store.get('one')).toString()).toBe('1');
  });

  it('does not write to the empty mount point when the medium is gone', async () => {
    await mount('size=4m');
    await store.put('one', Buffer.from('1'));
    await run('umount', [root]);
    expect(await codeOf(store.put('two', Buffer.from('2')))).toBe('POOL_UNREACHABLE');
    expect(await codeOf(store.get('one'))).toBe('POOL_UNREACHABLE');
    expect(await readdir(root)).toEqual([]);
    await mount('size=4m');
  });
});
