import { execFile } from 'node:child_process';
import { chmod, chown, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { backupXml, checkpointXml, type Libvirt } from '../src/index.js';
import { startSessionDaemon, type SessionDaemon } from '../src/testing/index.js';

const run = promisify(execFile);
const uuid = 'a3d3f0d5-65f5-4a3b-8f0e-0d2c2f1c9b11';

describe('a libvirt daemon', () => {
  let dir: string;
  let daemon: SessionDaemon;
  let libvirt: Libvirt;

  const image = async (name: string): Promise<string> => {
    const path = join(dir, 'vms', name);
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', path, '8M']);
    if (daemon.runAs) await chown(path, daemon.runAs.uid, daemon.runAs.gid);
    return path;
  };
  const diskXml = (target: string, path: string): string =>
    `<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${path}'/><target dev='${target}' bus='virtio'/></disk>`;

  beforeAll(async () => {
    dir = await mkdtemp('/var/tmp/casvault-lv-');
    await chmod(dir, 0o755);
    daemon = await startSessionDaemon(join(dir, 'd'));
    libvirt = daemon.libvirt;
    await mkdir(join(dir, 'vms'));
    if (daemon.runAs) await chown(join(dir, 'vms'), daemon.runAs.uid, daemon.runAs.gid);
    await libvirt.define(
      `<domain type='qemu'><name>12</name><uuid>${uuid}</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu>` +
        `<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>${diskXml('vda', await image('a'))}</devices></domain>`,
    );
  });
  afterAll(async () => {
    await daemon.stop();
    await rm(dir, { recursive: true, force: true });
  });

  test('tells versions, domains and states', async () => {
    expect(await libvirt.version()).toEqual({
      libvirt: expect.stringMatching(/^\d+\.\d+\.\d+$/) as string,
      hypervisor: expect.stringMatching(/^QEMU \d/) as string,
    });
    expect(await libvirt.domains()).toEqual([{ uuid, name: '12', state: 'shut-off' }]);
    await libvirt.start(uuid, { paused: true });
    expect(await libvirt.state(uuid)).toBe('paused');
    await libvirt.resume(uuid);
    expect(await libvirt.domain(uuid)).toMatchObject({
      name: '12',
      state: 'running',
      disks: [{ target: 'vda' }],
    });
    await libvirt.suspend(uuid);
    expect(await libvirt.state(uuid)).toBe('paused');
    await libvirt.resume(uuid);
    await expect(libvirt.domain('b3d3f0d5-65f5-4a3b-8f0e-0d2c2f1c9b11')).rejects.toMatchObject({
      code: 'VM_NOT_FOUND',
    });
    await expect(libvirt.start(uuid)).rejects.toMatchObject({
      code: 'LIBVIRT_FAILED',
      message: expect.stringMatching(/already/) as string,
    });
  });

  test('attaches and detaches disks', async () => {
    const path = await image('b');
    await libvirt.attachDevice(uuid, diskXml('vdb', path), 'config');
    expect(await libvirt.domainXml(uuid, { inactive: true })).toContain(path);
    await libvirt.detachDisk(uuid, 'vdb', 'config');
    expect(await libvirt.domainXml(uuid, { inactive: true })).not.toContain(path);
  });

  test('keeps checkpoints, which can be forgotten and told again', async () => {
    const job = {
      address: '127.0.0.1',
      port: 21_600,
      tls: 'off',
      disks: [{ target: 'vda', scratchFile: join(dir, 'vms/s') }],
    } as const;
    await libvirt.backupBegin(
      uuid,
      backupXml(job),
      checkpointXml('cp', [{ target: 'vda', checkpoint: true }]),
    );
    expect(await libvirt.backup(uuid)).toEqual(job);
    expect(await libvirt.jobInfo(uuid)).toMatchObject({ Operation: 'Backup' });
    await libvirt.jobAbort(uuid);
    while ((await libvirt.backup(uuid)) !== null) await new Promise((resolve) => setTimeout(resolve, 20));
    await libvirt.jobAbort(uuid);
    expect(await libvirt.checkpointNames(uuid)).toEqual(['cp']);
    const told = await libvirt.run(['checkpoint-dumpxml', uuid, 'cp']);
    await libvirt.checkpointDelete(uuid, 'cp', { metadataOnly: true });
    expect(await libvirt.checkpointNames(uuid)).toEqual([]);
    await libvirt.checkpointRedefine(uuid, told);
    expect(await libvirt.checkpoint(uuid, 'cp')).toMatchObject({
      name: 'cp',
      parent: null,
      targets: ['vda'],
    });
    await libvirt.checkpointDelete(uuid, 'cp');
    await libvirt.checkpointDelete(uuid, 'cp');
    expect(await libvirt.checkpointNames(uuid)).toEqual([]);
  });

  test('speaks to QEMU', async () => {
    expect(await libvirt.qemuMonitorCommand(uuid, { execute: 'query-status' })).toMatchObject({
      running: true,
    });
    await expect(libvirt.qemuMonitorCommand(uuid, { execute: 'no-such' })).rejects.toMatchObject({
      code: 'LIBVIRT_FAILED',
    });
    expect(await libvirt.humanMonitorCommand(uuid, 'info status')).toMatch(/running/);
  });

  test('makes, reverts to and deletes snapshots', async () => {
    await libvirt.destroy(uuid);
    await libvirt.snapshotCreate(uuid, '<domainsnapshot><name>s1</name></domainsnapshot>');
    expect(await libvirt.snapshotNames(uuid)).toEqual(['s1']);
    expect(await libvirt.snapshotXml(uuid, 's1')).toMatch(/<name>s1<\/name>/);
    await libvirt.snapshotRevert(uuid, 's1');
    await libvirt.snapshotDelete(uuid, 's1');
    expect(await libvirt.snapshotNames(uuid)).toEqual([]);
  });

  test('forgets a domain, and is told of when it is gone', async () => {
    await libvirt.undefine(uuid);
    expect(await libvirt.domains()).toEqual([]);
    await daemon.kill();
    await expect(libvirt.domains()).rejects.toMatchObject({ code: 'DEPENDENCY_UNAVAILABLE' });
    await daemon.revive();
    expect(await libvirt.domains()).toEqual([]);
  });
});
