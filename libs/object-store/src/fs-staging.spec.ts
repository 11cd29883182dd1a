import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FsStaging, stagingFolder } from './fs-staging.js';

const hourMs = 60 * 60 * 1000;

describe('FsStaging', () => {
  let root: string;
  let now: number;
  let staging: FsStaging;
  const folder = (): string => join(root, stagingFolder);
  const names = async (): Promise<string[]> => (await readdir(folder())).sort();
  const leave = (name: string, text = 'half'): Promise<void> => writeFile(join(folder(), name), text);
  /** Boot id with pid namespace, as this machine's names begin. */
  const boot = async (): Promise<string> => {
    const id = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
    return `${id}-${/[0-9]+/.exec(await readlink('/proc/self/ns/pid'))?.[0]}`;
  };

  beforeEach(async () => {
    root = await mkdtemp('/var/tmp/casvault-staging-');
    await mkdir(folder());
    now = 1000;
    let id = 0;
    staging = new FsStaging(root, { nextId: () => `n${(id += 1)}`, monotonicMs: () => now });
  });
  afterEach(() => rm(root, { recursive: true }));

  it('never gives one path twice', async () => {
    expect(await staging.newPath()).not.toBe(await staging.newPath());
  });

  it('removes what a dead process of this machine left, at the first look', async () => {
    const child = spawn('true');
    await once(child, 'exit');
    await leave(`${await boot()}.${child.pid}.1.x`);
    await staging.sweep();
    expect(await names()).toEqual([]);
  });

  it('removes what was left under a pid that another process has now', async () => {
    await leave(`${await boot()}.${process.pid}.1.x`);
    await staging.sweep();
    expect(await names()).toEqual([]);
  });

  it('leaves what a living process is writing, for ever', async () => {
    const path = await staging.newPath();
    await writeFile(path, 'half');
    await staging.sweep();
    now += 100 * hourMs;
    await staging.sweep();
    expect(await names()).toHaveLength(1);
  });

  it('removes a file of another machine only when it is the same an hour later', async () => {
    await leave('0ther-b00t.7.7.x');
    await leave('0ther-b00t.7.7.y');
    await staging.sweep();
    now += hourMs - 1;
    await staging.sweep();
    expect(await names()).toHaveLength(2);
    await leave('0ther-b00t.7.7.y', 'half and more');
    now += 1;
    await staging.sweep();
    expect(await names()).toEqual(['0ther-b00t.7.7.y']);
    now += hourMs;
    await staging.sweep();
    expect(await names()).toEqual([]);
  });

  it('believes no clock: files from the past or the future of another machine get their hour', async () => {
    await leave('a.1.1.past');
    await leave('a.1.1.future');
    await utimes(join(folder(), 'a.1.1.past'), 1, 1);
    await utimes(join(folder(), 'a.1.1.future'), 4_000_000_000, 4_000_000_000);
    await staging.sweep();
    expect(await names()).toEqual(['a.1.1.future', 'a.1.1.past']);
    now += hourMs;
    await staging.sweep();
    expect(await names()).toEqual([]);
  });

  it('gives names that it does not understand the same hour', async () => {
    await leave('junk');
    await staging.sweep();
    expect(await names()).toEqual(['junk']);
    now += hourMs;
    await staging.sweep();
    expect(await names()).toEqual([]);
  });
});
