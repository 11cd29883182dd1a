import { execFile } from 'node:child_process';
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { DiskServiceClient } from '@casvault/block-source';
import { newId, type DiskExport, type OpeningId } from '@casvault/contracts';
import { HypervisorHost } from './hypervisor-host.js';

const run = promisify(execFile);
const openssl = async (args: readonly string[]): Promise<void> => {
  await run('openssl', args);
};
const ecKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

/** An authority with a server's and a client's certificate, in a folder as QEMU wants it. */
async function makeCertificates(dir: string): Promise<void> {
  const at = (name: string): string => join(dir, name);
  await mkdir(dir, { recursive: true });
  const subject = ['-subj', '/CN=casvault test authority', '-days', '2'];
  await openssl([
    'req',
    '-x509',
    ...ecKey,
    '-keyout',
    at('ca-key.pem'),
    '-out',
    at('ca-cert.pem'),
    ...subject,
  ]);
  for (const [name, usage] of [
    ['server', 'serverAuth'],
    ['client', 'clientAuth'],
  ] as const) {
    await openssl([
      'req',
      ...ecKey,
      '-keyout',
      at(`${name}-key.pem`),
      '-out',
      at('req'),
      '-subj',
      `/CN=${name}`,
    ]);
    await writeFile(
      at('ext'),
      `subjectAltName=IP:127.0.0.1\nextendedKeyUsage=${usage}\nkeyUsage=digitalSignature\n`,
    );
    const signer = ['-CA', at('ca-cert.pem'), '-CAkey', at('ca-key.pem'), '-CAcreateserial', '-days', '2'];
    await openssl([
      'x509',
      '-req',
      '-in',
      at('req'),
      ...signer,
      '-extfile',
      at('ext'),
      '-out',
      at(`${name}-cert.pem`),
    ]);
    await chmod(at(`${name}-key.pem`), 0o644);
  }
}

describe('TLS', () => {
  let host: HypervisorHost;
  let dir: string;
  let pem: (name: string) => Promise<string>;

  beforeAll(async () => {
    dir = await mkdtemp('/var/tmp/casvault-tls-');
    await chmod(dir, 0o755);
    await makeCertificates(join(dir, 'ours'));
    await makeCertificates(join(dir, 'theirs'));
    pem = async (name) => await readFile(join(dir, name), 'utf8');
    host = await HypervisorHost.start('21400-21499', [`backup_tls_x509_cert_dir = "${join(dir, 'ours')}"`]);
    host.tls = {
      ca: await pem('ours/ca-cert.pem'),
      cert: await pem('ours/client-cert.pem'),
      key: await pem('ours/client-key.pem'),
    };
    await host.startService({
      TLS_CERT: join(dir, 'ours/server-cert.pem'),
      TLS_KEY: join(dir, 'ours/server-key.pem'),
      TLS_CLIENT_CA: join(dir, 'ours/ca-cert.pem'),
      NBD_TLS: 'x509',
      NBD_TLS_DIR: join(dir, 'ours'),
    });
  });
  afterAll(async () => {
    await host.stop();
    await rm(dir, { recursive: true, force: true });
  });

  const read = async (disk: DiskExport, certificates: string | null): Promise<Buffer> => {
    const copy = join(dir, 'copy.raw');
    const tls = certificates === null ? '' : ',tls-creds=t';
    const source = `driver=nbd,server.type=inet,server.host=${disk.host},server.port=${String(disk.port)},export=${disk.exportName}${tls}`;
    const credentials =
      certificates === null
        ? []
        : ['--object', `tls-creds-x509,id=t,endpoint=client,dir=${join(dir, certificates)}`];
    await run('qemu-img', ['convert', ...credentials, '--image-opts', '-O', 'raw', source, copy]);
    return await readFile(copy);
  };

  test('the control API takes callers with a certificate of its authority alone', async () => {
    expect((await host.client.health()).openings).toBe(0);
    const { ca } = host.tls!;
    const without = new DiskServiceClient({ url: host.url, token: host.token, tls: { ca: ca! } });
    await expect(without.health()).rejects.toMatchObject({ code: 'DISK_SERVICE_UNREACHABLE' });
    const strange = new DiskServiceClient({
      url: host.url,
      token: host.token,
      tls: { ca: ca!, cert: await pem('theirs/client-cert.pem'), key: await pem('theirs/client-key.pem') },
    });
    await expect(strange.health()).rejects.toMatchObject({ code: 'DISK_SERVICE_UNREACHABLE' });
    const mistaken = new DiskServiceClient({
      url: host.url,
      token: host.token,
      tls: { ca: await pem('theirs/ca-cert.pem') },
    });
    await expect(mistaken.health()).rejects.toMatchObject({ code: 'DISK_SERVICE_UNREACHABLE' });
  });

  test.each(['live', 'offline'] as const)('the exports of %s captures too', async (method) => {
    const path = await host.createImage(`${method}.qcow2`, '4M', 'qcow2');
    const vm = await host.defineVm(method, [{ target: 'vda', path, format: 'qcow2' }]);
    await host.libvirt.start(vm.uuid);
    await host.guestWrite(vm, 'vda', 0x77, '1M', '64k');
    if (method === 'offline') await host.libvirt.destroy(vm.uuid);
    const id = newId<OpeningId>();
    const disks = [{ target: 'vda', path }];
    const opening = await host.client.open(id, { kind: 'capture', vm, disks, leaseSeconds: 60 });
    expect(opening).toMatchObject({ method, disks: [{ tls: true }] });
    const content = await read(opening.disks[0]!, 'ours');
    expect(content.subarray(1 << 20, (1 << 20) + 65_536).every((byte) => byte === 0x77)).toBe(true);
    await expect(read(opening.disks[0]!, null)).rejects.toThrow(/TLS/i);
    await copyFile(join(dir, 'ours/ca-cert.pem'), join(dir, 'theirs/ca-cert.pem'));
    await expect(read(opening.disks[0]!, 'theirs')).rejects.toThrow();
    await host.client.close(id);
    expect(await host.remains([vm])).toEqual([]);
  });
});
