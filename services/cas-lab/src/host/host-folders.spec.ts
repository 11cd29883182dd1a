import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chooseHostsDir, fitsSockets } from './host-folders.js';

const nobody = { uid: 65534, gid: 65534 };

describe('the folder of the hosts', () => {
  it("is the lab's own, unless sockets below it would be too long", async () => {
    expect(await chooseHostsDir('/var/tmp/lab', undefined)).toBe('/var/tmp/lab');
    const long = `/var/tmp/${'x'.repeat(60)}`;
    expect(fitsSockets(long)).toBe(false);
    expect(await chooseHostsDir(long, undefined)).toMatch(/^\/var\/tmp\/cas-lab-[0-9a-f]{8}$/);
    expect(await chooseHostsDir(long, undefined)).toBe(await chooseHostsDir(long, undefined));
  });

  it('is elsewhere when the user of the hosts cannot get there', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'l-'));
    try {
      await chmod(dir, 0o700);
      expect(await chooseHostsDir(dir, nobody)).toMatch(/^\/var\/tmp\/cas-lab-/);
      await chmod(dir, 0o755);
      expect(await chooseHostsDir(dir, nobody)).toBe(dir);
    } finally {
      await rm(dir, { recursive: true });
    }
  });
});
