import { randomBytes } from 'node:crypto';
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { newId, type OpeningId, type RunItemId, type VolumeRequest } from '@casvault/contracts';
import { HypervisorHost } from './hypervisor-host.js';

const mib = 1 << 20;
const request = (path: string, more: Partial<VolumeRequest> = {}): VolumeRequest => ({
  kind: 'volume',
  path,
  format: 'qcow2',
  sizeBytes: 16 * mib,
  leaseSeconds: 120,
  ...more,
});

describe('volumes for writing', () => {
  let host: HypervisorHost;

  beforeAll(async () => {
    host = await HypervisorHost.start('21100-21103');
    await host.startService();
  });
  afterAll(async () => {
    await host.stop();
  });

  const refused = async (asked: VolumeRequest, code: string, words: RegExp): Promise<void> => {
    const opening = host.client.open(newId<OpeningId>(), asked);
    await expect(opening).rejects.toMatchObject({ code, message: expect.stringMatching(words) as string });
  };

  test.each(['qcow2', 'raw'] as const)(
    'a %s volume holds what was written, once it is closed',
    async (format) => {
      const path = await host.createImage(`new.${format}`, '16M', format);
      const content = Buffer.concat([randomBytes(3 * mib), Buffer.alloc(9 * mib), randomBytes(4 * mib)]);
      const id = newId<OpeningId>();
      const opening = await host.client.open(id, request(path, { format }));
      expect(opening).toMatchObject({
        method: 'write',
        disks: [{ target: 'volume', writable: true, sizeBytes: 16 * mib }],
      });
      await host.writeExport(opening.disks[0]!, content);
      await host.client.close(id);
      expect((await host.readImage(path, format)).equals(content)).toBe(true);
      expect(await host.remains([])).toEqual([]);
    },
  );

  test('only volumes below the volume folders, by no way round', async () => {
    await refused(request('/etc/passwd', { format: 'raw' }), 'DISK_SERVICE_REFUSED', /volume folders/);
    await refused(request(join(host.vms, '../state/openings')), 'DISK_SERVICE_REFUSED', /volume folders/);
    await symlink('/etc/passwd', join(host.vms, 'link.raw'));
    await refused(
      request(join(host.vms, 'link.raw'), { format: 'raw' }),
      'DISK_SERVICE_REFUSED',
      /volume folders/,
    );
    await refused(request(join(host.vms, 'none.qcow2')), 'NOT_FOUND', /no volume/);
    await refused(request(`${host.vms}/.`, { format: 'raw' }), 'DISK_SERVICE_REFUSED', /volume folders/);
    expect(await host.remains([])).toEqual([]);
  });

  test('no image that leads out of the volume folders', async () => {
    const backed = await host.createImage('backed.qcow2', '16M', 'qcow2', [
      '-o',
      'backing_file=/etc/passwd,backing_fmt=raw',
    ]);
    await refused(request(backed), 'DISK_SERVICE_REFUSED', /layer/);
    const remote = await host.createImage('remote.qcow2', '16M', 'qcow2', [
      '-u',
      '-o',
      'backing_file=nbd://127.0.0.1:1/x,backing_fmt=raw',
    ]);
    await refused(request(remote), 'DISK_SERVICE_REFUSED', /layer/);
    const outside = await host.createImage('outside.qcow2', '16M', 'qcow2', [
      '-o',
      `data_file=${join(host.dir, 'outside.raw')},data_file_raw=on`,
    ]);
    await refused(request(outside), 'DISK_SERVICE_REFUSED', /data in another file/);
    const base = await host.createImage('base.qcow2', '16M', 'qcow2');
    const layered = await host.createImage('layered.qcow2', '16M', 'qcow2', [
      '-o',
      `backing_file=${base},backing_fmt=qcow2`,
    ]);
    const opening = await host.client.open(newId<OpeningId>(), request(layered));
    await host.client.close(opening.openingId);
  });

  test('of the size and format that the request says', async () => {
    const path = await host.createImage('size.qcow2', '16M', 'qcow2');
    await refused(
      request(path, { sizeBytes: 15 * mib }),
      'DISK_SERVICE_REFUSED',
      /16777216 bytes, not 15728640/,
    );
    const raw = await host.createImage('not-qcow2.raw', '16M', 'raw');
    await refused(request(raw), 'DISK_SERVICE_REFUSED', /not-qcow2.raw/);
    expect(await host.remains([])).toEqual([]);
  });

  test.each(['qcow2', 'raw'] as const)('a %s volume gets the exact size of its disk', async (format) => {
    const path = await host.createImage(`fit.${format}`, '17M', format);
    const sizeBytes = 16 * mib + 512;
    const exact = request(path, { format, sizeBytes });
    await refused(exact, 'DISK_SERVICE_REFUSED', /17825792 bytes, not 16777728/);
    const id = newId<OpeningId>();
    const fitted = { ...exact, resize: true };
    const opening = await host.client.open(id, fitted);
    expect(opening.disks[0]?.sizeBytes).toBe(sizeBytes);
    const content = randomBytes(sizeBytes);
    await host.writeExport(opening.disks[0]!, content);
    await host.client.close(id);
    expect((await host.readImage(path, format)).equals(content)).toBe(true);
    const again = await host.client.open(newId<OpeningId>(), fitted);
    await host.client.close(again.openingId);
    const grown = await host.client.open(newId<OpeningId>(), { ...fitted, sizeBytes: 17 * mib });
    expect(grown.disks[0]?.sizeBytes).toBe(17 * mib);
    await host.client.close(grown.openingId);
    await refused({ ...fitted, sizeBytes: 16 * mib }, 'DISK_SERVICE_REFUSED', /17825792 bytes, not 16777216/);
  });

  test('not one that a running VM or another opening uses', async () => {
    const path = await host.createImage('used.qcow2', '16M', 'qcow2');
    const vm = await host.defineVm('user', [{ target: 'vda', path, format: 'qcow2' }]);
    await host.libvirt.start(vm.uuid);
    await refused(request(path), 'DISK_SERVICE_REFUSED', /in use by the VM user/);
    await host.libvirt.destroy(vm.uuid);
    const opening = await host.client.open(newId<OpeningId>(), request(path));
    await refused(
      request(path),
      'DISK_SERVICE_REFUSED',
      new RegExp(`in use by opening ${opening.openingId}`),
    );
    await expect(host.libvirt.start(vm.uuid)).rejects.toThrow(/lock/);
    await host.client.close(opening.openingId);
    await host.libvirt.undefine(vm.uuid);
  });

  test('the same request again is the same opening; another one under its id is a conflict', async () => {
    const path = await host.createImage('again.qcow2', '16M', 'qcow2');
    const id = newId<OpeningId>();
    const [first, second] = await Promise.all([
      host.client.open(id, request(path)),
      host.client.open(id, request(path)),
    ]);
    expect({ ...second, leaseUntil: '' }).toEqual({ ...first, leaseUntil: '' });
    await expect(host.client.open(id, request(path, { sizeBytes: 1 }))).rejects.toMatchObject({
      code: 'CONFLICT',
    });
    expect(await host.imageServers()).toHaveLength(1);
    await host.client.close(id);
    await host.client.close(id);
  });

  test('nothing is written for an item that has ended, also after the service was killed', async () => {
    const path = await host.createImage('ended.raw', '16M', 'raw');
    const itemId = newId<RunItemId>();
    const asked = request(path, { format: 'raw', itemId });
    expect(await host.client.endedItem(itemId)).toEqual({ itemId, endedAt: null });
    const late = await host.client.open(newId<OpeningId>(), asked);
    const [first, second] = [Buffer.alloc(16 * mib, 1), Buffer.alloc(16 * mib, 2)];
    await host.writeExport(late.disks[0]!, first);

    await host.client.endItem(itemId);
    const lost = { code: 'CAPTURE_LOST', message: expect.stringMatching(/its item has ended/) as string };
    await expect(host.client.get(late.openingId)).rejects.toMatchObject(lost);
    await expect(host.writeExport(late.disks[0]!, second)).rejects.toThrow();
    const { endedAt } = await host.client.endedItem(itemId);
    await refused(asked, 'ITEM_ENDED', new RegExp(`item ${itemId} ended at ${endedAt}`));
    await expect(host.client.open(late.openingId, asked)).rejects.toMatchObject({ code: 'ITEM_ENDED' });

    await host.stopService('SIGKILL');
    await host.startService();
    await host.client.endItem(itemId);
    expect(await host.client.endedItem(itemId)).toEqual({ itemId, endedAt });
    await refused(asked, 'ITEM_ENDED', /nothing is written for it again/);
    expect((await host.readImage(path, 'raw')).equals(first)).toBe(true);
    const other = await host.client.open(newId<OpeningId>(), { ...asked, itemId: newId<RunItemId>() });
    await host.client.close(other.openingId);
    await host.client.close(late.openingId);
    expect(await host.remains([])).toEqual([]);
  });

  test('a range of four ports serves four openings, and a freed port is used again', async () => {
    const openings: OpeningId[] = [];
    for (let n = 0; n < 4; n++) {
      const path = await host.createImage(`port${String(n)}.qcow2`, '16M', 'qcow2');
      const { openingId } = await host.client.open(newId<OpeningId>(), request(path));
      openings.push(openingId);
    }
    const fifth = await host.createImage('port4.qcow2', '16M', 'qcow2');
    await refused(request(fifth), 'DISK_SERVICE_REFUSED', /no free NBD port .* 21100-21103/);
    await host.client.close(openings.pop()!);
    const opening = await host.client.open(newId<OpeningId>(), request(fifth));
    for (const id of [...openings, opening.openingId]) await host.client.close(id);
    expect(await host.remains([])).toEqual([]);
  });
});
