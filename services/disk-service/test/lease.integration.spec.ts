import { randomBytes } from 'node:crypto';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  checkpointName,
  Fault,
  newId,
  type CaptureRequest,
  type OpeningId,
  type PointId,
  type VolumeRequest,
} from '@casvault/contracts';
import { until } from '@casvault/testkit';
import { HypervisorHost, type TestVm } from './hypervisor-host.js';

const mib = 1 << 20;

describe('leases, and the death of the service', () => {
  let host: HypervisorHost;
  let vm: TestVm;
  let stopped: TestVm;
  let volume: string;

  const capture = (of: TestVm, leaseSeconds: number): CaptureRequest => ({
    kind: 'capture',
    vm: { uuid: of.uuid, name: of.name },
    disks: of.disks.map(({ target, path }) => ({ target, path })),
    checkpoint: 'casvault-lease',
    leaseSeconds,
  });
  const writing = (leaseSeconds: number): VolumeRequest => ({
    kind: 'volume',
    path: volume,
    format: 'qcow2',
    sizeBytes: 16 * mib,
    leaseSeconds,
  });

  beforeAll(async () => {
    host = await HypervisorHost.start('21200-21299');
    await host.startService();
    const qcow2 = async (target: string, name: string) => ({
      target,
      path: await host.createImage(name, '16M', 'qcow2'),
      format: 'qcow2' as const,
    });
    vm = await host.defineVm('running', [await qcow2('vda', 'ra'), await qcow2('vdb', 'rb')]);
    stopped = await host.defineVm('stopped', [await qcow2('vda', 'sa'), await qcow2('vdb', 'sb')]);
    volume = await host.createImage('volume', '16M', 'qcow2');
    await host.libvirt.start(vm.uuid);
  });
  afterAll(async () => {
    await host.stop();
  });

  test('what nobody renews is closed, and everything it made is removed', async () => {
    const ids = [newId<OpeningId>(), newId<OpeningId>(), newId<OpeningId>()] as const;
    const kept = newId<OpeningId>();
    const other = await host.createImage('other', '16M', 'qcow2');
    const opened = performance.now();
    await host.client.open(kept, { ...writing(15), path: other });
    await host.client.renew(kept, 60);
    await host.client.open(ids[0], capture(vm, 60));
    await host.client.open(ids[1], capture(stopped, 60));
    await host.client.open(ids[2], writing(60));
    expect(await host.imageServers()).toHaveLength(4);
    for (const id of ids) await host.client.renew(id, 5);
    const isLost = async (id: OpeningId): Promise<boolean> => {
      const error: unknown = await host.client.get(id).then(
        () => null,
        (reason: unknown) => reason,
      );
      return Fault.is(error) && error.code === 'CAPTURE_LOST';
    };
    // Longer than the lease with which the opening that is kept was made.
    await until(
      async () => {
        await host.client.renew(kept, 60);
        for (const id of ids) if (!(await isLost(id))) return false;
        return performance.now() - opened > 20_000;
      },
      60_000,
      1_500,
    );
    await host.client.renew(kept, 60);
    for (const id of ids)
      await expect(host.client.renew(id, 5)).rejects.toMatchObject({ code: 'CAPTURE_LOST' });
    expect(await host.imageServers()).toHaveLength(1);
    await host.client.close(kept);
    expect(await host.remains([vm, stopped])).toEqual([]);
  });

  test('a restart of the service ends no transfer', async () => {
    const [live, write] = [newId<OpeningId>(), newId<OpeningId>()];
    await host.guestWrite(vm, 'vda', 0x61, '1M', '1M');
    const opened = await host.client.open(live, capture(vm, 300));
    const written = await host.client.open(write, writing(300));
    for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
      await host.stopService(signal);
      await host.startService();
      expect(await host.client.get(live)).toMatchObject({ disks: opened.disks, openedAt: opened.openedAt });
    }
    await host.guestWrite(vm, 'vda', 0x62, '1M', '1M');
    expect(
      (await host.readExport(opened.disks[0]!)).subarray(mib, 2 * mib).every((byte) => byte === 0x61),
    ).toBe(true);
    const content = randomBytes(16 * mib);
    await host.writeExport(written.disks[0]!, content);
    await host.client.renew(live, 300);
    await host.client.close(write);
    await host.client.close(live);
    expect((await host.readImage(volume, 'qcow2')).equals(content)).toBe(true);
    expect(await host.remains([vm, stopped])).toEqual([]);
  });

  test('a restart of libvirt ends no capture, and leases can be renewed without it', async () => {
    const id = newId<OpeningId>();
    const opening = await host.client.open(id, capture(vm, 300));
    await host.killLibvirt();
    await expect(host.client.health()).rejects.toMatchObject({ code: 'DEPENDENCY_UNAVAILABLE' });
    expect((await host.client.renew(id, 600)).leaseUntil > opening.leaseUntil).toBe(true);
    expect(await host.readExport(opening.disks[0]!)).toHaveLength(16 * mib);
    await expect(host.client.close(id)).rejects.toMatchObject({ code: 'DEPENDENCY_UNAVAILABLE' });
    await host.reviveLibvirt();
    expect(await host.remainsAfter([vm, stopped])).toEqual([]);
    await host.client.close(id);
  });

  // Every command that changes the host, by the count of them in one opening and its closing.
  const changes = { live: 3, offline: 5, write: 1 } as const;
  const kinds = {
    live: (lease: number) => capture(vm, lease),
    // Bitmap, record, server; bitmap, record.
    offline: (lease: number) => ({
      ...capture(stopped, lease),
      disks: capture(stopped, lease).disks.slice(0, 1),
    }),
    write: (lease: number) => writing(lease),
  } as const;
  const steps = (['live', 'offline', 'write'] as const).flatMap((kind) =>
    Array.from({ length: changes[kind] }, (_, n) => n + 1).flatMap((nth) =>
      (['after', 'before'] as const).map((when) => ({ kind, nth, when })),
    ),
  );
  test.each(['live', 'offline', 'write'] as const)(
    'the sweep covers all changes of a %s opening',
    async (kind) => {
      const counted = await host.changesOf(async () => {
        const { openingId } = await host.client.open(newId<OpeningId>(), kinds[kind](60));
        await host.client.close(openingId);
      });
      expect(counted).toBe(changes[kind]);
    },
  );
  test.each(steps)(
    'killed $when change $nth of a $kind opening, it leaves nothing once it is back',
    async ({ kind, nth, when }) => {
      const id = newId<OpeningId>();
      await host.killServiceAt(nth, when);
      const calls = (async () => {
        await host.client.open(id, kinds[kind](5));
        await host.client.close(id);
      })().catch(() => undefined);
      expect(await host.killedByTrap()).toBe(true);
      await calls;
      await host.disarm();
      await host.startService();
      // A command that was on its way arrives a second late.
      if (when === 'before') await delay(1_500);
      expect(await host.remainsAfter([vm, stopped])).toEqual([]);
    },
  );

  const supersede = async (id: OpeningId, old: string, next: string, gone: string[] = []): Promise<void> => {
    await host.client.open(id, { ...capture(vm, 60), checkpoint: next, supersedes: [...gone, old] });
    await host.client.close(id, { keepCheckpoint: true });
  };
  const keepFirst = async (name: string): Promise<void> => {
    const id = newId<OpeningId>();
    await host.client.open(id, { ...capture(vm, 60), checkpoint: name });
    await host.client.close(id, { keepCheckpoint: true });
  };
  const removeAll = async (): Promise<void> => {
    for (const { name } of await host.client.checkpoints(vm.uuid)) {
      await host.client.removeCheckpoint(vm.uuid, name);
    }
    expect(await host.remains([vm, stopped])).toEqual([]);
  };
  test('the sweep covers all changes of an opening that supersedes a checkpoint', async () => {
    const [old, next] = [checkpointName(newId<PointId>()), checkpointName(newId<PointId>())];
    await keepFirst(old);
    expect(await host.changesOf(() => supersede(newId<OpeningId>(), old, next))).toBe(3);
    await removeAll();
  });
  test('D6: checkpoints that went long ago cost an opening nothing', async () => {
    const [first, second, third, ...gone] = Array.from({ length: 18 }, () =>
      checkpointName(newId<PointId>()),
    );
    if (!first || !second || !third) throw new Error('no names');
    await keepFirst(first);
    const without = await host.commandsOf(() => supersede(newId<OpeningId>(), first, second));
    const withThem = await host.commandsOf(() => supersede(newId<OpeningId>(), second, third, gone));
    await removeAll();
    expect(withThem.changes).toBe(without.changes);
    // The service looks around by itself meanwhile; to look for each of them would be three commands and more.
    expect(withThem.all - without.all).toBeLessThan(2 * gone.length);
  });
  // Begin, end, remove the superseded one.
  const keeping = [1, 2, 3].flatMap((nth) => (['after', 'before'] as const).map((when) => ({ nth, when })));
  test.each(keeping)(
    'D6: killed $when change $nth of an opening that supersedes a checkpoint, one of the two is left',
    async ({ nth, when }) => {
      const [old, next] = [checkpointName(newId<PointId>()), checkpointName(newId<PointId>())];
      await keepFirst(old);
      const id = newId<OpeningId>();
      await host.killServiceAt(nth, when);
      const calls = supersede(id, old, next).catch(() => undefined);
      expect(await host.killedByTrap()).toBe(true);
      await calls;
      await host.disarm();
      await host.startService();
      if (when === 'before') await delay(1_500);
      const left = [`checkpoint ${nth === 1 ? old : next}`];
      for (let waitedMs = 0; waitedMs < 60_000; waitedMs += 200) {
        if (JSON.stringify(await host.remains([vm, stopped])) === JSON.stringify(left)) break;
        await delay(200);
      }
      expect(await host.remains([vm, stopped])).toEqual(left);
      // The caller that repeats its closing turns nothing round.
      await host.client.close(id, { keepCheckpoint: true });
      expect(await host.remains([vm, stopped])).toEqual(left);
      await removeAll();
    },
  );

  test('killed at some moment, it serves the caller that repeats its request', async () => {
    for (let round = 0; round < 6; round++) {
      const request = Object.values(kinds)[round % 3]!(60);
      const id = newId<OpeningId>();
      const opening = host.client.open(id, request).catch(() => null);
      await delay(40 + round * 50);
      await host.stopService('SIGKILL');
      await opening;
      await host.startService();
      expect(await host.client.open(id, request)).toMatchObject({ openingId: id });
      await host.client.close(id);
      expect(await host.remainsAfter([vm, stopped])).toEqual([]);
    }
  });

  test('what bears our names but is of no opening is removed at start', async () => {
    const id = newId<OpeningId>();
    await host.client.open(id, { ...capture(stopped, 600), checkpoint: undefined });
    const live = newId<OpeningId>();
    await host.client.open(live, { ...capture(vm, 600), checkpoint: undefined });
    await host.stopService('SIGKILL');
    // The state is lost.
    for (const name of await readdir(join(host.state, 'openings'))) {
      await writeFile(join(host.state, 'openings', name), '{');
    }
    await writeFile(join(host.scratch, `casvault-${newId<OpeningId>()}-vda.qcow2`), '');
    await mkdir(join(host.scratch, 'of somebody else'));
    await host.startService();
    expect(await host.remains([vm, stopped])).toEqual(['scratch file of somebody else']);
  });
});
