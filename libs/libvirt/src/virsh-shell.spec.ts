import { access, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VirshShell } from './virsh-shell.js';

/** A virsh whose commands are functions of a shell; one that is asked once tells so. */
const fake = (dir: string): string => `#!/bin/sh
[ $# -gt 3 ] && { printf 'process: %s' "$4"; exit; }
echo() { if [ "$1" = --err ]; then printf 'error: %s\\n' "$2" >&2; else printf '%s' "$*"; fi; }
self() { printf '%s\\n' $$; }
say() { printf '%s|' "$@"; printf '\\n'; }
silent() { :; }
gone() { echo --err "failed to get domain 'x'"; }
odd() { echo --err 'Reconnected to the hypervisor'; }
die() { kill -9 $$; }
wait() { : > ${dir}/waiting; while [ ! -e ${dir}/go ]; do sleep 0.05; done; echo waited; }
while printf 'virsh # ' && read -r line; do printf '%s\\n' "$line"; eval "$line"; done
`;

describe('questions to a virsh that stays', () => {
  let dir: string;
  let shell: VirshShell;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'casvault-spec-'));
    const virshPath = join(dir, 'virsh');
    await writeFile(virshPath, fake(dir), { mode: 0o755 });
    shell = new VirshShell({ uri: 'x', virshPath });
  });
  afterEach(async () => {
    await shell.ask([['die']]);
    await rm(dir, { recursive: true });
  });

  const until = async (file: string): Promise<void> => {
    while (
      await access(join(dir, file)).then(
        () => false,
        () => true,
      )
    )
      await new Promise((resolve) => setTimeout(resolve, 5));
  };

  test('are answered by one process, with nothing but what was printed', async () => {
    const pid = await shell.ask([['self']]);
    expect(Number(pid)).toBeGreaterThan(1);
    expect(await shell.ask([['say', `a b'c`, '"$HOME"'], ['self']])).toBe(`a b'c|"$HOME"|\n${pid}`);
    expect(await shell.ask([['silent']])).toBe('');
    expect(await shell.ask([['self']])).toBe(pid);
  });

  test('that libvirt refuses are faults, and the process stays', async () => {
    const pid = await shell.ask([['self']]);
    await expect(shell.ask([['gone']])).rejects.toMatchObject({
      code: 'VM_NOT_FOUND',
      message: "virsh gone: failed to get domain 'x'",
    });
    expect(await shell.ask([['self']])).toBe(pid);
  });

  test.each([
    ['says something unclear', 'odd'],
    ['dies', 'die'],
  ])('are asked again by a process of their own when it %s, and another one stays', async (_, command) => {
    const pid = await shell.ask([['self']]);
    expect(await shell.ask([[command]])).toBe(`process: ${command}`);
    const next = await shell.ask([['self']]);
    expect(Number(next)).toBeGreaterThan(1);
    expect(next).not.toBe(pid);
  });

  test('that a line cannot carry are asked by a process of their own', async () => {
    expect(await shell.ask([['say', 'a\nb']])).toBe('process: say');
    expect(await shell.ask([['say', 'ä']])).toBe('process: say');
  });

  test('do not wait for each other', async () => {
    const first = shell.ask([['wait']]);
    await until('waiting');
    expect(await shell.ask([['self']])).toBe('process: self');
    await writeFile(join(dir, 'go'), '');
    expect(await first).toBe('waited');
  });

  test('end in their time, or when they are stopped', async () => {
    await expect(shell.ask([['wait']], { timeoutMs: 50 })).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
    });
    const signal = AbortSignal.timeout(50);
    await expect(shell.ask([['wait']], { signal })).rejects.toMatchObject({ code: 'STOPPED' });
    expect(Number(await shell.ask([['self']]))).toBeGreaterThan(1);
  });
});
