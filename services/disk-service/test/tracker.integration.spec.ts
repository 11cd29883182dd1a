import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  checkpointName,
  newId,
  type CaptureRequest,
  type Opening,
  type OpeningId,
  type PointId,
} from '@casvault/contracts';
import { HypervisorHost, type TestVm } from './hypervisor-host.js';

const run = promisify(execFile);
const block = 65_536;
const mib = 1 << 20;
const newCheckpoint = (): string => checkpointName(newId<PointId>());

describe('trackers that never lie', () => {
  let host: HypervisorHost;
  let vm: TestVm;

  const capture = async (of: TestVm, more: Partial<CaptureRequest> & { since?: string } = {}) => {
    const { since, ...rest } = more;
    const counting = since === undefined ? {} : { incrementalFrom: since };
    return await host.client.open(newId<OpeningId>(), {
      kind: 'capture',
      vm: { uuid: of.uuid, name: of.name },
      disks: of.disks.map(({ target, path }) => ({ target, path, ...counting })),
      leaseSeconds: 120,
      ...rest,
    });
  };
  /** A point: captured, and its checkpoint kept in the place of `since`. */
  const point = async (of: TestVm, since?: string): Promise<{ name: string; opening: Opening }> => {
    const name = newCheckpoint();
    const counting = since === undefined ? {} : { since, supersedes: [since] };
    const opening = await capture(of, { checkpoint: name, ...counting });
    await host.client.close(opening.openingId, { keepCheckpoint: true });
    return { name, opening };
  };
  /** What an incremental since `name` would have; nothing is kept of it. */
  const look = async (of: TestVm, name: string): Promise<Opening> => {
    const opening = await capture(of, { since: name });
    await host.client.close(opening.openingId);
    return opening;
  };
  const reasonsOf = (opening: Opening) => opening.disks.map(({ bitmapReason }) => bitmapReason);
  const twoDisks = async (name: string): Promise<TestVm> =>
    await host.defineVm(name, [
      { target: 'vda', path: await host.createImage(`${name}-a`, '16M', 'qcow2'), format: 'qcow2' },
      { target: 'vdb', path: await host.createImage(`${name}-b`, '8M', 'qcow2'), format: 'qcow2' },
    ]);
  const names = async (of: TestVm): Promise<string[]> =>
    (await host.client.checkpoints(of.uuid)).map(({ name }) => name).sort();
  const clear = async (of: TestVm): Promise<void> => {
    for (const name of await names(of)) await host.client.removeCheckpoint(of.uuid, name);
  };

  beforeAll(async () => {
    host = await HypervisorHost.start('21600-21699');
    await host.startService();
    vm = await twoDisks('vm');
    await host.libvirt.start(vm.uuid);
  });
  afterAll(async () => {
    await host.stop();
  });
  afterEach(async () => {
    await clear(vm);
    if ((await host.libvirt.state(vm.uuid)) === 'shut-off') await host.libvirt.start(vm.uuid);
    expect(await host.remains([vm])).toEqual([]);
  });

  test('D2: tell what was written since the point, whose opening made them, and in which run of QEMU', async () => {
    const first = await point(vm);
    expect(first.opening.disks.map(({ checkpointed }) => checkpointed)).toEqual([true, true]);
    await host.guestWrite(vm, 'vda', 0x21, '1M', '64k');
    const opening = await capture(vm, { since: first.name, checkpoint: newCheckpoint() });
    expect(opening.disks).toMatchObject([
      {
        bitmapContext: 'qemu:dirty-bitmap:backup-vda',
        bitmapReason: null,
        bitmapMadeBy: first.opening.openingId,
        checkpointed: true,
        generation: first.opening.disks[0]!.generation,
      },
      { bitmapReason: null, bitmapMadeBy: first.opening.openingId },
    ]);
    expect(await host.dirtyRanges(opening.disks[0]!)).toEqual([{ offset: mib, length: block }]);
    expect(await host.dirtyRanges(opening.disks[1]!)).toEqual([]);
    expect(opening.disks[0]!.generation).not.toBe(opening.disks[1]!.generation);
    await host.client.close(opening.openingId);
    expect(await names(vm)).toEqual([first.name]);
  });

  test('R7: count on after a clean restart, in another run of QEMU', async () => {
    const first = await point(vm);
    await host.guestWrite(vm, 'vda', 0x31, '2M', '64k');
    await host.libvirt.destroy(vm.uuid);
    await host.libvirt.start(vm.uuid);
    await host.guestWrite(vm, 'vda', 0x32, '4M', '64k');
    const opening = await capture(vm, { since: first.name });
    expect(await host.dirtyRanges(opening.disks[0]!)).toEqual([
      { offset: 2 * mib, length: block },
      { offset: 4 * mib, length: block },
    ]);
    const [before, after] = [first.opening.disks[0]!.generation, opening.disks[0]!.generation];
    expect(before.split('/')[0]).toBe(after.split('/')[0]);
    expect(before).not.toBe(after);
    await host.client.close(opening.openingId);
  });

  test('R7: are void after QEMU died, running or not, and what is left of them goes', async () => {
    const first = await point(vm);
    await host.libvirt.destroy(vm.uuid);
    await host.libvirt.start(vm.uuid);
    await host.guestWrite(vm, 'vda', 0x41, '2M', '64k');
    await host.killQemu(vm);
    expect(reasonsOf(await look(vm, first.name))).toEqual(['BITMAP_INCONSISTENT', 'BITMAP_INCONSISTENT']);
    await host.libvirt.start(vm.uuid);
    const opening = await look(vm, first.name);
    expect(opening.disks).toMatchObject([
      { bitmapContext: null, bitmapReason: 'BITMAP_INCONSISTENT', bitmapMadeBy: null },
      { bitmapContext: null, bitmapReason: 'BITMAP_INCONSISTENT', bitmapMadeBy: null },
    ]);
    expect(await names(vm)).toEqual([first.name]);
  });

  test('R7: are void when they were never saved', async () => {
    const first = await point(vm);
    await host.killQemu(vm);
    await host.libvirt.start(vm.uuid);
    expect(reasonsOf(await look(vm, first.name))).toEqual(['BITMAP_MISSING', 'BITMAP_MISSING']);
    const next = await point(vm, first.name);
    expect(await names(vm)).toEqual([next.name]);
  });

  test('one broken of two leaves the other', async () => {
    const first = await point(vm);
    await host.libvirt.destroy(vm.uuid);
    await run('qemu-img', ['bitmap', '--remove', vm.disks[0]!.path, first.name]);
    await host.libvirt.start(vm.uuid);
    await host.guestWrite(vm, 'vdb', 0x51, '1M', '64k');
    const opening = await capture(vm, { since: first.name, checkpoint: newCheckpoint() });
    expect(reasonsOf(opening)).toEqual(['BITMAP_MISSING', null]);
    expect(opening.disks.map(({ checkpointed }) => checkpointed)).toEqual([true, true]);
    expect(await host.dirtyRanges(opening.disks[1]!)).toEqual([{ offset: mib, length: block }]);
    await host.client.close(opening.openingId);
  });

  test('one that only libvirt finds broken is left out, and the other stays', async () => {
    const first = await point(vm);
    // The monitor is not to be had, and libvirt must judge.
    await host.libvirt.destroy(vm.uuid);
    await run('qemu-img', ['bitmap', '--remove', vm.disks[1]!.path, first.name]);
    await host.libvirt.start(vm.uuid);
    await host.refuseMonitor();
    const opening = await look(vm, first.name);
    expect(reasonsOf(opening)).toEqual([null, 'BITMAP_INCONSISTENT']);
    expect(opening.disks[0]!.bitmapMadeBy).toBe(first.opening.openingId);
    await host.disarm();
  });

  test('R5, R6: are not had on raw and old images, nor begun where none is wanted', async () => {
    const mixed = await host.defineVm('mixed', [
      { target: 'vda', path: await host.createImage('raw', '4M', 'raw'), format: 'raw' },
      {
        target: 'vdb',
        path: await host.createImage('v2', '4M', 'qcow2', ['-o', 'compat=0.10']),
        format: 'qcow2',
      },
      { target: 'vdc', path: await host.createImage('no', '4M', 'qcow2'), format: 'qcow2' },
      { target: 'vdd', path: await host.createImage('yes', '4M', 'qcow2'), format: 'qcow2' },
    ]);
    await host.libvirt.start(mixed.uuid);
    const disks = mixed.disks.map(({ target, path }) => ({ target, path, untracked: target === 'vdc' }));
    const name = newCheckpoint();
    const opening = await capture(mixed, { disks, checkpoint: name });
    expect(opening.disks.map(({ checkpointed }) => checkpointed)).toEqual([false, false, false, true]);
    await host.client.close(opening.openingId, { keepCheckpoint: true });
    expect(await host.client.checkpoints(mixed.uuid)).toMatchObject([
      { name, madeBy: opening.openingId, targets: ['vdd'] },
    ]);
    expect(reasonsOf(await look(mixed, name))).toEqual([
      'CBT_UNSUPPORTED',
      'CBT_UNSUPPORTED',
      'BITMAP_MISSING',
      null,
    ]);
    const none = await capture(mixed, {
      disks: disks.map((disk) => ({ ...disk, untracked: true })),
      checkpoint: newCheckpoint(),
    });
    expect(none.checkpoint).toBeNull();
    await host.client.close(none.openingId, { keepCheckpoint: true });
    await host.libvirt.destroy(mixed.uuid);
    await clear(mixed);
    await host.libvirt.undefine(mixed.uuid);
  });

  test('are void on a disk that has another size than then', async () => {
    const first = await point(vm);
    await host.libvirt.run(['blockresize', vm.uuid, vm.disks[1]!.path, '12M']);
    expect(reasonsOf(await look(vm, first.name))).toEqual([null, 'DISK_RESIZED']);
  });

  test('are void below a snapshot of somebody else', async () => {
    const own = await twoDisks('overlaid');
    await host.libvirt.start(own.uuid);
    const first = await point(own);
    const overlay = join(host.vms, 'overlay');
    await host.libvirt.snapshotCreate(
      own.uuid,
      `<domainsnapshot><name>o</name><disks><disk name='vda' snapshot='external'><source file='${overlay}'/></disk>` +
        `<disk name='vdb' snapshot='no'/></disks></domainsnapshot>`,
      { diskOnly: true },
    );
    const overlaid = { ...own, disks: [{ ...own.disks[0]!, path: overlay }, own.disks[1]!] };
    expect(reasonsOf(await look(overlaid, first.name))).toEqual(['BITMAP_FOREIGN_LAYER', null]);
    // A point on top of it begins anew, and counts.
    const second = await point(overlaid, first.name);
    await host.guestWrite(own, 'vda', 0x61, '1M', '64k');
    const third = await capture(overlaid, { since: second.name });
    expect(reasonsOf(third)).toEqual([null, null]);
    expect(await host.dirtyRanges(third.disks[0]!)).toEqual([{ offset: mib, length: block }]);
    await host.client.close(third.openingId);
    await host.libvirt.destroy(own.uuid);
    await clear(own);
    expect(await host.remains([overlaid, own])).toEqual([]);
    await host.libvirt.undefine(own.uuid);
  });

  test('begun on a stopped VM, are counted from while it runs, and the other way round', async () => {
    await host.libvirt.destroy(vm.uuid);
    const stopped = await point(vm);
    expect(stopped.opening).toMatchObject({ method: 'offline', checkpoint: stopped.name });
    await host.libvirt.start(vm.uuid);
    await host.guestWrite(vm, 'vda', 0x71, '3M', '64k');
    const live = await capture(vm, { since: stopped.name });
    expect(live.disks[0]).toMatchObject({ bitmapMadeBy: stopped.opening.openingId, bitmapReason: null });
    expect(await host.dirtyRanges(live.disks[0]!)).toEqual([{ offset: 3 * mib, length: block }]);
    await host.client.close(live.openingId);
    const second = await point(vm, stopped.name);
    await host.guestWrite(vm, 'vda', 0x72, '5M', '64k');
    await host.libvirt.destroy(vm.uuid);
    const third = newCheckpoint();
    const offline = await capture(vm, { since: second.name, checkpoint: third, supersedes: [second.name] });
    expect(offline.disks[0]!.bitmapContext).toBe(`qemu:dirty-bitmap:${second.name}`);
    expect(await host.dirtyRanges(offline.disks[0]!)).toEqual([{ offset: 5 * mib, length: block }]);
    await host.client.close(offline.openingId, { keepCheckpoint: true });
    expect(await names(vm)).toEqual([third]);
    expect(await host.keptBitmaps(vm.disks[0]!.path)).toEqual([third]);
  });

  test('are removed on request, with a record or without, so that snapshots can be reverted to again', async () => {
    const own = await twoDisks('reverted');
    const cycle = async (isRunning: boolean): Promise<void> => {
      if (isRunning) await host.libvirt.start(own.uuid);
      const snapshot = `s${String(isRunning)}`;
      await host.libvirt.snapshotCreate(
        own.uuid,
        `<domainsnapshot><name>${snapshot}</name></domainsnapshot>`,
      );
      const recorded = await point(own);
      const stray = await point(own);
      await host.libvirt.checkpointDelete(own.uuid, stray.name, { metadataOnly: true });
      const found = await host.client.checkpoints(own.uuid);
      expect(found.map(({ name, madeBy, targets }) => ({ name, madeBy, targets }))).toEqual([
        { name: recorded.name, madeBy: recorded.opening.openingId, targets: ['vda', 'vdb'] },
        { name: stray.name, madeBy: null, targets: ['vda', 'vdb'] },
      ]);
      for (const { createdAt } of found) {
        expect(Math.abs(Date.parse(createdAt) - Date.parse(recorded.opening.openedAt))).toBeLessThan(60_000);
      }
      expect(reasonsOf(await look(own, stray.name))).toEqual(['BITMAP_MISSING', 'BITMAP_MISSING']);
      await clear(own);
      expect(await host.client.checkpoints(own.uuid)).toEqual([]);
      await host.libvirt.snapshotRevert(own.uuid, snapshot);
      if (isRunning) await host.libvirt.destroy(own.uuid);
      expect(await host.remains([own])).toEqual([]);
      await host.libvirt.snapshotDelete(own.uuid, snapshot);
    };
    await cycle(false);
    await cycle(true);
    await host.libvirt.undefine(own.uuid);
  });

  test('of others, and those in use, are not removed', async () => {
    const first = await point(vm);
    const opening = await capture(vm, { since: first.name });
    await expect(host.client.removeCheckpoint(vm.uuid, first.name)).rejects.toMatchObject({
      code: 'CONFLICT',
    });
    await expect(host.client.removeCheckpoint(vm.uuid, 'nightly')).rejects.toMatchObject({
      code: 'INPUT_INVALID',
    });
    await expect(host.client.checkpoints(newId())).rejects.toMatchObject({ code: 'VM_NOT_FOUND' });
    await host.client.close(opening.openingId);
    await host.client.removeCheckpoint(vm.uuid, newCheckpoint());
  });

  test('show a roll-back what a stopped VM wrote since the point', async () => {
    const first = await point(vm);
    await host.guestWrite(vm, 'vda', 0x81, '6M', '64k');
    const volume = {
      kind: 'volume',
      path: vm.disks[0]!.path,
      format: 'qcow2',
      sizeBytes: 16 * mib,
      incrementalFrom: first.name,
      leaseSeconds: 60,
    } as const;
    await expect(host.client.open(newId(), volume)).rejects.toMatchObject({ code: 'DISK_SERVICE_REFUSED' });
    await host.libvirt.destroy(vm.uuid);
    const opening = await host.client.open(newId(), volume);
    expect(opening.disks[0]).toMatchObject({
      bitmapContext: `qemu:dirty-bitmap:${first.name}`,
      bitmapMadeBy: first.opening.openingId,
      writable: true,
    });
    expect(await host.dirtyRanges(opening.disks[0]!)).toEqual([{ offset: 6 * mib, length: block }]);
    await host.writeExport(opening.disks[0]!, Buffer.alloc(16 * mib));
    await host.client.close(opening.openingId);
    const unknown = await host.client.open(newId(), { ...volume, incrementalFrom: newCheckpoint() });
    expect(unknown.disks[0]).toMatchObject({ bitmapContext: null, bitmapReason: 'BITMAP_MISSING' });
    await host.client.close(unknown.openingId);
    expect((await host.readImage(vm.disks[0]!.path, 'qcow2')).every((byte) => byte === 0)).toBe(true);
  });
});
