import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Libvirt } from './libvirt.js';
import { runVirshTogether, virshFault, withXmlFiles } from './virsh.js';

describe('what virsh says', () => {
  test.each([
    ["error: failed to get domain 'x'\n", 'VM_NOT_FOUND'],
    ['error: Domain not found: no domain with matching uuid', 'VM_NOT_FOUND'],
    [
      "error: failed to connect to the hypervisor\nerror: Failed to connect socket to '/x': No such file",
      'DEPENDENCY_UNAVAILABLE',
    ],
    ['error: Domain checkpoint not found: no domain checkpoint with matching name', 'NOT_FOUND'],
    ['error: Domain backup job id not found: no domain backup job present', 'NOT_FOUND'],
    ['error: operation failed: anything else', 'LIBVIRT_FAILED'],
    ['', 'LIBVIRT_FAILED'],
  ])('%p is %s', (words, code) => {
    expect(virshFault('start', words)).toMatchObject({ code, details: { command: 'start' } });
  });

  test('is kept in the message, line by line', () => {
    expect(virshFault('start', 'error: one\nerror: two\n').message).toBe('virsh start: one; two');
  });
});

describe('a call', () => {
  test('without virsh is told as such', async () => {
    await expect(
      new Libvirt({ uri: 'qemu:///system', virshPath: '/none' }).run(['list']),
    ).rejects.toMatchObject({
      code: 'DEPENDENCY_UNAVAILABLE',
    });
  });

  test('ends in its time, or when it is stopped', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'casvault-spec-'));
    const virshPath = join(dir, 'virsh');
    await writeFile(virshPath, '#!/bin/sh\nexec sleep 60\n', { mode: 0o755 });
    const hanging = new Libvirt({ uri: 'qemu:///system', virshPath });
    await expect(hanging.run(['list'], { timeoutMs: 50 })).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
    });
    const signal = AbortSignal.timeout(50);
    await expect(hanging.run(['list'], { signal })).rejects.toMatchObject({ code: 'STOPPED' });
    await rm(dir, { recursive: true });
  });
});

describe('questions of one process', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'casvault-spec-'));
  });
  afterEach(() => rm(dir, { recursive: true }));
  const fake = async (script: string): Promise<{ uri: string; virshPath: string }> => {
    const virshPath = join(dir, 'virsh');
    await writeFile(virshPath, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return { uri: 'x', virshPath };
  };

  test('are one line in which every word is a word', async () => {
    const options = await fake(`printf '%s|' "$@"`);
    const asked = await runVirshTogether(options, [['dumpxml', `a b'c`], ['list']]);
    expect(asked).toBe(`--quiet|--connect|x|'dumpxml' 'a b'\\''c'; 'list'|`);
  });

  test('fail when the first fails, though the last succeeds', async () => {
    const options = await fake(`echo "error: failed to get domain 'x'" >&2; echo fine`);
    const asked = runVirshTogether(options, [['dumpxml', 'x'], ['list']]);
    await expect(asked).rejects.toMatchObject({
      code: 'VM_NOT_FOUND',
      message: expect.stringContaining('virsh dumpxml, list: failed to get domain') as string,
    });
  });
});

test('documents for virsh are files that are gone afterwards, also after a fault', async () => {
  let path = '';
  const use = async ([first = '']: string[]): Promise<never> => {
    path = first;
    expect(await readFile(first, 'utf8')).toBe('<a/>');
    throw new RangeError('stop');
  };
  await expect(withXmlFiles({ uri: 'x' }, ['<a/>'], use)).rejects.toThrow('stop');
  await expect(readFile(path)).rejects.toMatchObject({ code: 'ENOENT' });
});
