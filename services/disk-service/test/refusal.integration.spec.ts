import { mkdir } from 'node:fs/promises';
import { DiskServiceClient } from '@casvault/block-source';
import { newId, type CaptureRequest, type OpeningId, type TransferId } from '@casvault/contracts';
import { backupXml } from '@casvault/libvirt';
import { HypervisorHost, type TestVm } from './hypervisor-host.js';

describe('refusals', () => {
  let host: HypervisorHost;
  let vm: TestVm;

  const capture = (of: TestVm, more: Partial<CaptureRequest> = {}): CaptureRequest => ({
    kind: 'capture',
    vm: { uuid: of.uuid, name: of.name },
    disks: of.disks.map(({ target, path }) => ({ target, path })),
    leaseSeconds: 60,
    ...more,
  });
  const refused = async (request: CaptureRequest, code: string, words: RegExp): Promise<void> => {
    const opening = host.client.open(newId<OpeningId>(), request);
    await expect(opening).rejects.toMatchObject({ code, message: expect.stringMatching(words) as string });
  };

  beforeAll(async () => {
    host = await HypervisorHost.start('21300-21399');
    await host.startService({ MAX_OPENINGS: '1' });
    vm = await host.defineVm('refused', [
      { target: 'vda', path: await host.createImage('a.qcow2', '16M', 'qcow2'), format: 'qcow2' },
    ]);
    await host.libvirt.start(vm.uuid);
  });
  afterAll(async () => {
    await host.stop();
  });

  test('callers without the token', async () => {
    const strangers = [
      new DiskServiceClient({ url: host.url, token: 'x'.repeat(48) }),
      new DiskServiceClient({ url: host.url, token: `${host.token}x` }),
      new DiskServiceClient({ url: host.url, token: host.token.slice(1) }),
    ];
    for (const stranger of strangers) {
      await expect(stranger.get(newId<OpeningId>())).rejects.toMatchObject({
        code: 'DISK_SERVICE_UNAUTHORISED',
      });
      await expect(stranger.open(newId<OpeningId>(), capture(vm))).rejects.toMatchObject({
        code: 'DISK_SERVICE_UNAUTHORISED',
      });
      expect((await stranger.health()).service).toBe('casvault-disk-service');
    }
    for (const authorization of [undefined, `Basic ${host.token}`, host.token, 'Bearer ']) {
      const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
      const reply = await fetch(`${host.url}/v1/openings`, { headers });
      expect(reply.status).toBe(401);
      expect(reply.headers.get('content-type')).toMatch(/problem\+json/);
    }
  });

  test('requests that are none', async () => {
    const ask = async (method: string, path: string, body?: unknown): Promise<[number, unknown]> => {
      const reply = await fetch(`${host.url}${path}`, {
        method,
        headers: { authorization: `Bearer ${host.token}`, 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      });
      return [reply.status, ((await reply.json()) as { code?: unknown }).code];
    };
    const id = newId<OpeningId>();
    const put = `/v1/openings/${id}`;
    expect(await ask('PUT', put, {})).toEqual([400, 'INPUT_INVALID']);
    expect(await ask('PUT', put, '{')).toEqual([400, 'INPUT_INVALID']);
    expect(await ask('PUT', put, { ...capture(vm), leaseSeconds: 1 })).toEqual([400, 'INPUT_INVALID']);
    expect(await ask('PUT', put, { ...capture(vm), checkpoint: "a'/>" })).toEqual([400, 'INPUT_INVALID']);
    expect(await ask('PUT', '/v1/openings/..%2f..%2fetc', capture(vm))).toEqual([400, 'INPUT_INVALID']);
    expect(await ask('GET', put)).toEqual([404, 'NOT_FOUND']);
    expect(await ask('POST', `${put}/renewals`, { leaseSeconds: 60 })).toEqual([410, 'CAPTURE_LOST']);
    expect(await ask('GET', '/v2')).toEqual([404, 'NOT_FOUND']);
  });

  test('VMs and disks that are not as the request says', async () => {
    const path = vm.disks[0]!.path;
    const unknown = { uuid: '3d3f0d57-65f5-4a3b-8f0e-0d2c2f1c9b11', name: 'unknown' };
    await refused(capture(vm, { vm: unknown }), 'VM_NOT_FOUND', /unknown .* is not on this host/);
    await refused(capture(vm, { disks: [{ target: 'vdc', path }] }), 'CAPTURE_REFUSED', /no disk vdc/);
    await refused(
      capture(vm, { disks: [{ target: 'vda', path: '/etc/passwd' }] }),
      'CAPTURE_REFUSED',
      /not \/etc\/passwd/,
    );
    const twice = [
      { target: 'vda', path },
      { target: 'vda', path },
    ];
    await refused(capture(vm, { disks: twice }), 'CAPTURE_REFUSED', /twice/);
    await host.libvirt.suspend(vm.uuid);
    await refused(capture(vm), 'CAPTURE_REFUSED', /paused .*R11/);
    await host.libvirt.resume(vm.uuid);
  });

  test('encrypted disks (R2)', async () => {
    const secret = [
      '--object',
      'secret,id=s,data=a-secret-of-the-test',
      '-o',
      'encrypt.format=aes,encrypt.key-secret=s',
    ];
    const path = await host.createImage('encrypted.qcow2', '4M', 'qcow2', secret);
    const encrypted = await host.defineVm('encrypted', [{ target: 'vda', path, format: 'qcow2' }]);
    await refused(capture(encrypted), 'CAPTURE_REFUSED', /encrypted .*R2/);
    await host.libvirt.undefine(encrypted.uuid);
  });

  test('a VM that is being captured, by us or by another program, names its holder', async () => {
    const { openingId } = await host.client.open(newId<OpeningId>(), capture(vm));
    // The limit of openings would answer first: it is one here.
    await refused(capture(vm), 'DISK_SERVICE_REFUSED', /1 openings already/);
    await host.client.close(openingId);
    const scratch = `${host.dir}/foreign`;
    await mkdir(scratch, { mode: 0o777 });
    await host.giveToVms(scratch);
    const disks = [{ target: 'vda', scratchFile: `${scratch}/s.qcow2` }];
    await host.libvirt.backupBegin(
      vm.uuid,
      backupXml({ address: '127.0.0.1', port: 21_399, tls: 'off', disks }),
    );
    await refused(capture(vm), 'DISK_SERVICE_REFUSED', /backup of another program/);
    expect((await host.libvirt.backup(vm.uuid))?.port).toBe(21_399);
    await host.libvirt.jobAbort(vm.uuid);
    await host.stopService('SIGTERM');
    await host.startService();
    const transferId = newId<TransferId>();
    const mine = await host.client.open(newId<OpeningId>(), { ...capture(vm), transferId });
    await refused(capture(vm), 'DISK_SERVICE_REFUSED', new RegExp(`held by opening ${mine.openingId}`));
    const again = host.client.open(newId<OpeningId>(), capture(vm));
    await expect(again).rejects.toMatchObject({ details: { openingId: mine.openingId, transferId } });
    await host.client.close(mine.openingId);
  });

  test('a capture that could fill the scratch folder', async () => {
    await host.stopService('SIGTERM');
    await host.startService({ SCRATCH_RESERVE_BYTES: String(2 ** 52) });
    await refused(capture(vm), 'DISK_SERVICE_REFUSED', /scratch folder has \d+ bytes free/);
    expect(await host.remains([vm])).toEqual([]);
  });

  test('a disk service that is not there, is told by host and port', async () => {
    await host.stopService('SIGTERM');
    await expect(host.client.health()).rejects.toMatchObject({
      code: 'DISK_SERVICE_UNREACHABLE',
      message: expect.stringMatching(/127\.0\.0\.1:\d+ can't be reached: ECONNREFUSED/) as string,
    });
    await host.startService();
    await expect(host.client.health({ signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'STOPPED',
    });
  });
});
