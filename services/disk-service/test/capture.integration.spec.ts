import { createHash } from 'node:crypto';
import { newId, type CaptureRequest, type OpeningId } from '@casvault/contracts';
import { HypervisorHost, type TestVm } from './hypervisor-host.js';

const block = 65_536;
const mib = 1 << 20;

const requestFor = (vm: TestVm, more: Partial<CaptureRequest> = {}): CaptureRequest => ({
  kind: 'capture',
  vm: { uuid: vm.uuid, name: vm.name },
  disks: vm.disks.map(({ target, path }) => ({ target, path })),
  leaseSeconds: 120,
  ...more,
});
const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

describe('captures', () => {
  let host: HypervisorHost;
  let vm: TestVm;

  beforeAll(async () => {
    host = await HypervisorHost.start('21000-21099');
    await host.startService();
    vm = await host.defineVm('two disks', [
      {
        target: 'vda',
        path: await host.createImage('a.qcow2', '64M', 'qcow2', ['-o', 'cluster_size=256k']),
        format: 'qcow2',
      },
      { target: 'vdb', path: await host.createImage('b.qcow2', '32M', 'qcow2'), format: 'qcow2' },
    ]);
    await host.libvirt.start(vm.uuid);
  });
  afterAll(async () => {
    await host.stop();
  });

  test('both disks of a running VM are of one instant, and stay so under writes', async () => {
    let written = 0;
    let isStopped = false;
    // Number n goes to disk a, then to disk b: at any instant b holds a's numbers, or all but the last.
    const writer = (async () => {
      while (!isStopped && written < 200) {
        const at = `${String((written % 200) * 64)}k`;
        await host.guestWrite(vm, 'vda', (written % 200) + 1, at, '64k');
        await host.guestWrite(vm, 'vdb', (written % 200) + 1, at, '64k');
        written++;
      }
    })();
    while (written < 5) await new Promise((resolve) => setTimeout(resolve, 10));

    const id = newId<OpeningId>();
    const opening = await host.client.open(id, requestFor(vm));
    const writtenThen = written;
    expect(opening).toMatchObject({ openingId: id, kind: 'capture', method: 'live', checkpoint: null });
    while (written < writtenThen + 5) await new Promise((resolve) => setTimeout(resolve, 10));
    isStopped = true;
    await writer;
    // All that was captured is overwritten, and the capture must not show it.
    await host.guestWrite(vm, 'vda', 0xee, '0', '16M');
    await host.guestWrite(vm, 'vdb', 0xee, '0', '16M');

    const [a, b] = [await host.readExport(opening.disks[0]!), await host.readExport(opening.disks[1]!)];
    const last = (disk: Buffer): number => {
      let n = 0;
      while (n < 200 && disk.subarray(n * block, (n + 1) * block).every((byte) => byte === n + 1)) n++;
      expect(disk.subarray(n * block, 16 * mib).every((byte) => byte === 0)).toBe(true);
      return n;
    };
    expect(a.length).toBe(64 * mib);
    expect(b.length).toBe(32 * mib);
    const [lastA, lastB] = [last(a), last(b)];
    expect(lastA).toBeGreaterThanOrEqual(4);
    expect(lastA).toBeLessThanOrEqual(writtenThen + 1);
    expect([lastA, lastA - 1]).toContain(lastB);

    await host.client.close(id);
    expect(await host.remains([vm])).toEqual([]);
  });

  test('the bitmap since a kept checkpoint shows exactly what was written after it', async () => {
    const full = newId<OpeningId>();
    const first = await host.client.open(full, requestFor(vm, { checkpoint: 'casvault-1' }));
    expect(first.checkpoint).toBe('casvault-1');
    expect(first.disks.map((disk) => disk.bitmapContext)).toEqual([null, null]);
    await host.client.close(full, { keepCheckpoint: true });
    expect(await host.libvirt.checkpointNames(vm.uuid)).toEqual(['casvault-1']);

    await host.guestWrite(vm, 'vda', 0x21, '1M', '256k');
    await host.guestWrite(vm, 'vda', 0x22, '9M', '64k');
    await host.guestWrite(vm, 'vdb', 0x23, '30M', '128k');
    const disks = vm.disks.map(({ target, path }) => ({ target, path, incrementalFrom: 'casvault-1' }));
    const id = newId<OpeningId>();
    const opening = await host.client.open(id, requestFor(vm, { disks, checkpoint: 'casvault-2' }));
    await host.guestWrite(vm, 'vda', 0x24, '20M', '64k');
    expect(opening.disks.map((disk) => disk.bitmapContext)).toEqual([
      'qemu:dirty-bitmap:backup-vda',
      'qemu:dirty-bitmap:backup-vdb',
    ]);
    expect(await host.dirtyRanges(opening.disks[0]!)).toEqual([
      { offset: mib, length: 4 * block },
      { offset: 9 * mib, length: block },
    ]);
    expect(await host.dirtyRanges(opening.disks[1]!)).toEqual([{ offset: 30 * mib, length: 2 * block }]);

    // Given up: the new checkpoint goes, the old one still counts everything since it.
    await host.client.close(id);
    expect(await host.libvirt.checkpointNames(vm.uuid)).toEqual(['casvault-1']);
    const again = await host.client.open(newId<OpeningId>(), requestFor(vm, { disks }));
    expect(await host.dirtyRanges(again.disks[0]!)).toEqual([
      { offset: mib, length: 4 * block },
      { offset: 9 * mib, length: block },
      { offset: 20 * mib, length: block },
    ]);
    await host.client.close(again.openingId);
    await host.libvirt.checkpointDelete(vm.uuid, 'casvault-1');
  });

  test('a checkpoint that libvirt has not gives no bitmap, and one of that name already is a conflict', async () => {
    const disks = vm.disks.map(({ target, path }) => ({ target, path, incrementalFrom: 'casvault-gone' }));
    const id = newId<OpeningId>();
    const opening = await host.client.open(id, requestFor(vm, { disks, checkpoint: 'casvault-3' }));
    expect(opening.disks.map((disk) => disk.bitmapContext)).toEqual([null, null]);
    await host.client.close(id, { keepCheckpoint: true });
    await expect(
      host.client.open(newId<OpeningId>(), requestFor(vm, { checkpoint: 'casvault-3' })),
    ).rejects.toMatchObject({ code: 'CONFLICT' });
    await host.libvirt.checkpointDelete(vm.uuid, 'casvault-3');
    expect(await host.remains([vm])).toEqual([]);
  });

  test('raw disks of a running VM are captured in full, beside qcow2 ones with a checkpoint', async () => {
    const mixed = await host.defineVm('mixed', [
      { target: 'vda', path: await host.createImage('m.raw', '20M', 'raw'), format: 'raw' },
      { target: 'vdb', path: await host.createImage('m.qcow2', '20M', 'qcow2'), format: 'qcow2' },
    ]);
    await host.libvirt.start(mixed.uuid);
    await host.guestWrite(mixed, 'vda', 0x31, '3M', '1M');
    const id = newId<OpeningId>();
    const opening = await host.client.open(id, requestFor(mixed, { checkpoint: 'casvault-m' }));
    await host.guestWrite(mixed, 'vda', 0x32, '3M', '1M');
    const content = await host.readExport(opening.disks[0]!);
    expect(content.subarray(3 * mib, 4 * mib).every((byte) => byte === 0x31)).toBe(true);
    expect(content.filter((byte) => byte !== 0).length).toBe(mib);
    expect(opening).toMatchObject({
      checkpoint: 'casvault-m',
      disks: [{ format: 'raw' }, { format: 'qcow2' }],
    });
    await host.client.close(id);
    expect(await host.remains([vm, mixed])).toEqual([]);
    await host.libvirt.destroy(mixed.uuid);
    await host.libvirt.undefine(mixed.uuid);
  });

  test('disks of a stopped VM are read as they are, at any size; the VM can not start meanwhile', async () => {
    const odd = await host.createImage('odd.raw', '1000448', 'raw');
    const stopped = await host.defineVm('stopped', [
      { target: 'vda', path: odd, format: 'raw' },
      { target: 'vdb', path: await host.createImage('empty.qcow2', '5M', 'qcow2'), format: 'qcow2' },
    ]);
    await host.libvirt.start(stopped.uuid);
    await host.guestWrite(stopped, 'vda', 0x41, '512', '999936');
    await host.libvirt.destroy(stopped.uuid);

    const id = newId<OpeningId>();
    const opening = await host.client.open(id, requestFor(stopped, { checkpoint: 'casvault-off' }));
    expect(opening).toMatchObject({
      method: 'offline',
      checkpoint: 'casvault-off',
      disks: [{ checkpointed: false }, { checkpointed: true }],
    });
    expect(opening.disks[0]!.port).not.toBe(opening.disks[1]!.port);
    expect(opening.disks.map((disk) => disk.sizeBytes)).toEqual([1_000_448, 5 * mib]);
    expect(sha(await host.readExport(opening.disks[0]!))).toBe(sha(await host.readImage(odd, 'raw')));
    expect((await host.readExport(opening.disks[1]!)).every((byte) => byte === 0)).toBe(true);
    await expect(host.libvirt.start(stopped.uuid)).rejects.toThrow(/lock/);
    expect(await host.client.renew(id, 60)).toMatchObject({ method: 'offline' });

    await host.client.close(id);
    expect(await host.remains([vm, stopped])).toEqual([]);
    await host.libvirt.start(stopped.uuid);
    await host.libvirt.destroy(stopped.uuid);
    await host.libvirt.undefine(stopped.uuid);
  });

  test('a stopped VM shows the bitmap that its file keeps', async () => {
    const path = await host.createImage('kept.qcow2', '16M', 'qcow2');
    const kept = await host.defineVm('kept', [{ target: 'vda', path, format: 'qcow2' }]);
    await host.libvirt.start(kept.uuid);
    const full = newId<OpeningId>();
    await host.client.open(full, requestFor(kept, { checkpoint: 'casvault-k' }));
    await host.client.close(full, { keepCheckpoint: true });
    await host.guestWrite(kept, 'vda', 0x51, '2M', '64k');
    await host.libvirt.destroy(kept.uuid);
    const id = newId<OpeningId>();
    const opening = await host.client.open(
      id,
      requestFor(kept, { disks: [{ target: 'vda', path, incrementalFrom: 'casvault-k' }] }),
    );
    expect(await host.keptBitmaps(path)).toEqual(['casvault-k']);
    expect(opening.disks[0]!.bitmapContext).toBe('qemu:dirty-bitmap:casvault-k');
    expect(await host.dirtyRanges(opening.disks[0]!)).toEqual([{ offset: 2 * mib, length: block }]);
    await host.client.close(id);
    await host.libvirt.undefine(kept.uuid);
  });

  test('a capture whose VM is powered off reads as lost, and leaves nothing', async () => {
    const id = newId<OpeningId>();
    await host.client.open(id, requestFor(vm, { checkpoint: 'casvault-lost' }));
    await host.libvirt.destroy(vm.uuid);
    await expect(host.client.renew(id, 60)).rejects.toMatchObject({ code: 'CAPTURE_LOST' });
    await expect(host.client.get(id)).rejects.toMatchObject({ code: 'CAPTURE_LOST' });
    await expect(host.client.open(id, requestFor(vm, { checkpoint: 'casvault-lost' }))).rejects.toMatchObject(
      {
        code: 'CAPTURE_LOST',
      },
    );
    expect(await host.remains([vm])).toEqual([]);
    for (const { path } of vm.disks) expect(await host.keptBitmaps(path)).toEqual([]);
    await host.client.close(id);
    await expect(host.client.get(id)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await host.libvirt.start(vm.uuid);
  });

  test('a capture whose job somebody else ended reads as lost', async () => {
    const id = newId<OpeningId>();
    await host.client.open(id, requestFor(vm, { checkpoint: 'casvault-ended' }));
    await host.libvirt.jobAbort(vm.uuid);
    while ((await host.libvirt.backup(vm.uuid)) !== null)
      await new Promise((resolve) => setTimeout(resolve, 20));
    await expect(host.client.get(id)).rejects.toMatchObject({ code: 'CAPTURE_LOST' });
    expect(await host.remains([vm])).toEqual([]);
  });
});
