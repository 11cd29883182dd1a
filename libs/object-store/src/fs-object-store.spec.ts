import { mkdir, mkdtemp, readdir, rename, rm, symlink, truncate, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '@casvault/contracts';
import { FsObjectStore } from './fs-object-store.js';
import { describeObjectStore } from './testing/index.js';

const freshRoot = (): Promise<string> => mkdtemp('/var/tmp/casvault-pool-');
const codeOf = (action: Promise<unknown>): Promise<string> =>
  action.then(
    () => 'no fault',
    (error: unknown) => Fault.from(error).code,
  );

describeObjectStore('FsObjectStore', async () => {
  const root = await freshRoot();
  return {
    store: new FsObjectStore(root),
    other: new FsObjectStore(root),
    stop: () => rm(root, { recursive: true }),
  };
});

describe('FsObjectStore on its file system', () => {
  let root: string;
  let store: FsObjectStore;
  beforeEach(async () => {
    root = await freshRoot();
    store = new FsObjectStore(root);
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  it('keeps an object as a plain file under its key', async () => {
    await store.put('packs/ab/one', Buffer.from('text'));
    expect(await readdir(join(root, 'packs', 'ab'))).toEqual(['one']);
    expect(await readdir(join(root, '@tmp'))).toEqual([]);
  });

  it('removes folders that a deletion empties, and no other', async () => {
    await store.put('packs/ab/one', Buffer.from('1'));
    await store.put('packs/cd/two', Buffer.from('2'));
    await store.delete('packs/ab/one');
    expect(await readdir(join(root, 'packs'))).toEqual(['cd']);
    await store.delete('packs/cd/two');
    expect(await readdir(root)).toEqual(['@tmp']);
  });

  it('leaves nothing behind when a put loses, fails or is aborted', async () => {
    await store.put('one', Buffer.from('1'), { ifAbsent: true });
    expect(await codeOf(store.put('one', Buffer.from('2'), { ifAbsent: true }))).toBe('POOL_OBJECT_EXISTS');
    expect(await codeOf(store.put('one/below', Buffer.from('2')))).toBe('INPUT_INVALID');
    const control = new AbortController();
    const put = store.put('two', Buffer.alloc(64 * 1024 * 1024), { signal: control.signal });
    setTimeout(() => {
      control.abort();
    }, 2);
    expect(await codeOf(put)).toBe('STOPPED');
    expect(await readdir(join(root, '@tmp'))).toEqual([]);
  });

  it('writes an object again when its unfinished file is swept away under it', async () => {
    const body = Buffer.alloc(8 * 1024 * 1024, 7);
    let done = false;
    const sweep = async (): Promise<number> => {
      let swept = 0;
      while (!done && swept < 3) {
        for (const name of await readdir(join(root, '@tmp')).catch(() => [])) {
          await unlink(join(root, '@tmp', name)).catch(() => undefined);
          swept += 1;
        }
      }
      return swept;
    };
    const put = store.put('big', body).finally(() => {
      done = true;
    });
    const [swept] = await Promise.all([sweep(), put]);
    expect(swept).toBeGreaterThan(0);
    expect(Buffer.compare(await store.get('big'), body)).toBe(0);
  });

  it('tells a pool that is gone from an object that is', async () => {
    await store.put('one', Buffer.from('1'));
    await rename(root, `${root}-away`);
    for (const action of [
      store.get('one'),
      store.stat('one'),
      store.delete('one'),
      store.put('two', Buffer.from('2')),
      store.usage(),
    ]) {
      expect(await codeOf(action)).toBe('POOL_UNREACHABLE');
    }
    expect(await codeOf(store.list('').next())).toBe('POOL_UNREACHABLE');
    await rename(`${root}-away`, root);
    expect(await codeOf(store.get('one'))).toBe('no fault');
  });

  it('does not take another directory at its path for the pool: the mount was lost', async () => {
    await store.put('one', Buffer.from('1'));
    await rename(root, `${root}-away`);
    await mkdir(root);
    expect(await codeOf(store.get('one'))).toBe('POOL_UNREACHABLE');
    expect(await codeOf(store.put('two', Buffer.from('2')))).toBe('POOL_UNREACHABLE');
    expect(await readdir(root)).toEqual([]);
    await rm(`${root}-away`, { recursive: true });
  });

  it('refuses a pool that is no directory', async () => {
    await writeFile(join(root, 'file'), '');
    expect(await codeOf(new FsObjectStore(join(root, 'file')).put('a', Buffer.from('1')))).toBe(
      'POOL_UNREACHABLE',
    );
    expect(await codeOf(new FsObjectStore(join(root, 'none')).get('a'))).toBe('POOL_UNREACHABLE');
  });

  it('lists objects only: no unfinished ones, links or foreign names', async () => {
    await store.put('a/one', Buffer.from('1'));
    await writeFile(join(root, '@tmp', 'half'), 'x');
    await writeFile(join(root, 'not a key'), 'x');
    await symlink(join(root, 'a'), join(root, 'link'));
    const keys: string[] = [];
    for await (const { key } of store.list('')) keys.push(key);
    expect(keys).toEqual(['a/one']);
  });

  it('notices an object that was cut short', async () => {
    await store.put('one', Buffer.alloc(100));
    await truncate(join(root, 'one'), 50);
    expect(await codeOf(store.get('one', { range: { offset: 0, length: 100 } }))).toBe('POOL_OBJECT_DAMAGED');
  });
});
