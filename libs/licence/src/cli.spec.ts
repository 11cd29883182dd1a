import { execFile } from 'node:child_process';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { tempDir, type TempDir } from '@casvault/testkit';
import { readLicence } from './licence.js';

const run = promisify(execFile);
const cli = fileURLToPath(new URL('./cli.js', import.meta.url));

describe('B1: casvault-licence', () => {
  let temp: TempDir;
  let keyFile: string;
  let publicKey: string;
  const call = async (...args: string[]): Promise<string> =>
    (await run(process.execPath, [cli, ...args])).stdout.trim();

  beforeAll(async () => {
    temp = await tempDir('licence');
    keyFile = join(temp.path, 'key.json');
    publicKey = await call('key', '--out', keyFile);
  });
  afterAll(() => temp.remove());

  it('issues what those who trust its key take', async () => {
    const wanted = ['--holder', 'Example GmbH', '--feature', 'advanced', '--module', 'backup-host=20'];
    const before = Date.now();
    const terms = await readLicence(await call('issue', '--key', keyFile, ...wanted, '--days', '2'), [
      publicKey,
    ]);
    expect(terms).toMatchObject({
      holder: 'Example GmbH',
      features: ['advanced'],
      modules: { 'backup-host': 20 },
    });
    const lastsMs = Date.parse(terms.expiresAt ?? '') - Date.parse(terms.issuedAt);
    expect(lastsMs).toBe(2 * 86_400_000);
    expect(Date.parse(terms.issuedAt)).toBeGreaterThanOrEqual(before);
    const endless = await readLicence(await call('issue', '--key', keyFile, '--holder', 'x'), [publicKey]);
    expect(endless).toMatchObject({ features: [], modules: {}, expiresAt: null });
  });

  it('keeps the private key to its owner, and overwrites none', async () => {
    expect((await stat(keyFile)).mode & 0o777).toBe(0o600);
    const kept = await readFile(keyFile, 'utf8');
    await expect(call('key', '--out', keyFile)).rejects.toMatchObject({ code: 2 });
    expect(await readFile(keyFile, 'utf8')).toBe(kept);
  });

  it.each([
    [[], /usage/],
    [['key'], /usage/],
    [['issue', '--holder', 'x'], /usage/],
    [['issue', '--key', '/nowhere', '--holder', 'x'], /ENOENT/],
    [['issue', '--key', 'KEY', '--holder', 'x', '--days', '0'], /--days: must be 1 to 99999, is 0/],
    [['issue', '--key', 'KEY', '--holder', 'x', '--module', 'many'], /--module: must be NAME=COUNT, is many/],
  ])('refuses %j', async (args, message) => {
    const asked = args.map((arg) => (arg === 'KEY' ? keyFile : arg));
    const stderr = expect.stringMatching(message) as string;
    await expect(call(...asked)).rejects.toMatchObject({ code: 2, stderr });
  });
});
