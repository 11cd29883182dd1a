import { execFile } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Fault } from '@casvault/contracts';
import { freePort, RunningProcess, tempDir, type TempDir, until } from '@casvault/testkit';
import { type Extent, isDirty, isZero, listNbdExports, NbdClient, type NbdEndpoint } from '../src/index.js';

const run = async (command: string, ...args: string[]): Promise<string> =>
  (await promisify(execFile)(command, args, { maxBuffer: 64 * mib })).stdout;
const kib = 1024;
const mib = 1024 * kib;

let dir: TempDir;
let running: RunningProcess[] = [];
let clients: NbdClient[] = [];
const at = (name: string): string => join(dir.path, name);

beforeEach(async () => {
  dir = await tempDir('nbd');
});
afterEach(async () => {
  for (const client of clients) client.destroy();
  for (const child of running) await child.kill9();
  clients = [];
  running = [];
  await dir.remove();
});

const start = (command: string, ...args: string[]): RunningProcess => {
  const child = new RunningProcess(command, args);
  running.push(child);
  return child;
};

/** Whether somebody takes connections; a socket's file is there a moment before. */
const listens = (at: net.NetConnectOpts): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = net.connect(at);
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => {
      resolve(false);
    });
  });

/** qemu-nbd or nbdkit on a Unix socket. */
const serve = async (
  command: 'qemu-nbd' | 'nbdkit',
  ...args: string[]
): Promise<NbdEndpoint & { path: string }> => {
  const path = at(`${running.length}.sock`);
  const how = command === 'qemu-nbd' ? ['-t', '-e', '8', '-k', path] : ['-f', '-U', path];
  const child = start(command, ...how, ...args);
  await until(
    async () => (await listens({ path })) || (!child.running && Promise.reject(new Error(child.output))),
  );
  return { path, exportName: '' };
};

const connect = async (...[endpoint, options]: Parameters<typeof NbdClient.connect>): Promise<NbdClient> => {
  const client = await NbdClient.connect(endpoint, options);
  clients.push(client);
  return client;
};

const readAll = async (client: NbdClient, step = mib): Promise<Buffer> => {
  const all = Buffer.alloc(client.sizeBytes, 0xee);
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < all.length) {
      const offset = next;
      next += step;
      await client.read(offset, all.subarray(offset, offset + step));
    }
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
  return all;
};

const collect = async (extents: AsyncIterable<Extent>): Promise<Extent[]> => {
  const all: Extent[] = [];
  for await (const extent of extents) all.push(extent);
  return all;
};

const codeOf = (action: Promise<unknown>): Promise<string> =>
  action.then(
    () => 'no fault',
    (error: unknown) => Fault.from(error).code,
  );

/** A 64 MiB + 512 byte qcow2 with data, holes, written zeroes and a bitmap of later writes; its raw bytes beside it. */
const makeImage = async (): Promise<{ qcow2: string; raw: Buffer }> => {
  const [qcow2, raw] = [at('disk.qcow2'), at('disk.raw')];
  const size = 64 * mib + 512;
  await run('qemu-img', 'create', '-q', '-f', 'qcow2', qcow2, String(size));
  const io = (...commands: string[]): Promise<string> =>
    run('qemu-io', '-f', 'qcow2', ...commands.flatMap((one) => ['-c', one]), qcow2);
  const noise = at('noise');
  await writeFile(noise, randomFillSync(Buffer.alloc(5 * mib)));
  await io(
    `write -s ${noise} 1M 5M`,
    'write -P 0x22 20M 64k',
    'write -z 30M 1M',
    'write -P 0x33 67108864 512',
  );
  await run('qemu-img', 'bitmap', '--add', '--enable', '-g', '65536', qcow2, 'b0');
  await io('write -P 0x44 2M 4k', 'write -P 0x55 40M 200k', 'write -z 50M 64k');
  await run('qemu-img', 'convert', '-O', 'raw', qcow2, raw);
  return { qcow2, raw: await readFile(raw) };
};

describe('NbdClient and qemu-nbd', () => {
  it('reads a sparse qcow2 byte for byte, at any request size', async () => {
    const { qcow2, raw } = await makeImage();
    const endpoint = await serve('qemu-nbd', '-r', '-f', 'qcow2', qcow2);
    const client = await connect(endpoint, { contexts: ['base:allocation'] });
    expect(client).toMatchObject({ sizeBytes: 64 * mib + 512, readOnly: true });
    for (const step of [mib, 64 * kib, 3 * mib + 512, 40 * mib]) {
      expect(Buffer.compare(await readAll(client, step), raw)).toBe(0);
    }
  });

  it('tells zeroes and dirty blocks as qemu keeps them', async () => {
    const { qcow2, raw } = await makeImage();
    const endpoint = await serve('qemu-nbd', '-r', '-f', 'qcow2', '-B', 'b0', qcow2);
    const bitmap = 'qemu:dirty-bitmap:b0';
    const client = await connect(endpoint, { contexts: ['base:allocation', bitmap] });
    const allocation = await collect(client.extents('base:allocation'));
    expect(allocation.reduce((sum, { length }) => sum + length, 0)).toBe(raw.length);
    for (const { offset, length, flags } of allocation) {
      const zero = raw.subarray(offset, offset + length).every((byte) => byte === 0);
      if (isZero(flags)) expect([offset, zero]).toEqual([offset, true]);
    }
    const known = allocation
      .filter(({ flags }) => isZero(flags))
      .reduce((sum, { length }) => sum + length, 0);
    expect(known).toBeGreaterThan(58 * mib);
    const dirty = (await collect(client.extents(bitmap))).filter(({ flags }) => isDirty(flags));
    expect(dirty.map(({ offset, length }) => [offset / kib, length / kib])).toEqual([
      [2 * kib, 64],
      [40 * kib, 256],
      [50 * kib, 64],
    ]);
    const part = await collect(client.extents(bitmap, { offset: 2 * mib + 4096, length: 100 * kib }));
    expect(part.map(({ offset, length, flags }) => [offset, length, flags])).toEqual([
      [2 * mib + 4096, 60 * kib, 1],
      [2 * mib + 64 * kib, 40 * kib, 0],
    ]);
  });

  it('writes over several connections, zeroes and flushes, and the image holds it', async () => {
    const image = at('target.qcow2');
    const size = 32 * mib;
    await run('qemu-img', 'create', '-q', '-f', 'qcow2', image, String(size));
    const endpoint = await serve('qemu-nbd', '-f', 'qcow2', '--discard=unmap', image);
    const writers = [await connect(endpoint), await connect(endpoint), await connect(endpoint)];
    expect(writers[0]).toMatchObject({ readOnly: false, canWriteZeroes: true });
    const content = randomFillSync(Buffer.alloc(size));
    content.fill(0, 8 * mib, 20 * mib);
    let next = 0;
    const write = async (client: NbdClient): Promise<void> => {
      while (next < size) {
        const offset = next;
        next += 512 * kib;
        await client.write(offset, content.subarray(offset, offset + 512 * kib));
      }
    };
    await Promise.all(writers.map((writer) => write(writer)).flat());
    const [first] = writers;
    await first?.writeZeroes(8 * mib, 12 * mib);
    await first?.flush();
    for (const writer of writers) await writer.close();
    await running[0]?.stop();
    await run('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', image, at('back.raw'));
    expect(Buffer.compare(await readFile(at('back.raw')), content)).toBe(0);
    const { 'actual-size': actual } = JSON.parse(await run('qemu-img', 'info', '--output=json', image)) as {
      'actual-size': number;
    };
    expect(actual).toBeLessThan(24 * mib);
  });

  it('knows a wrong export name, and lists the right ones', async () => {
    await run('qemu-img', 'create', '-q', '-f', 'raw', at('x.raw'), '1M');
    const endpoint = await serve('qemu-nbd', '-f', 'raw', '-x', 'vda', at('x.raw'));
    expect(await listNbdExports(endpoint)).toEqual(['vda']);
    expect(await codeOf(NbdClient.connect(endpoint))).toBe('NBD_REFUSED');
    const client = await connect(
      { ...endpoint, exportName: 'vda' },
      { contexts: ['qemu:dirty-bitmap:none'] },
    );
    expect([client.sizeBytes, client.contexts.size]).toEqual([mib, 0]);
  });

  it('rejects what is outstanding when the server is killed', async () => {
    await writeFile(at('x.raw'), randomFillSync(Buffer.alloc(64 * mib)));
    const endpoint = await serve('qemu-nbd', '-r', '-f', 'raw', at('x.raw'));
    const client = await connect(endpoint);
    const codes = Array.from({ length: 64 }, (_, i) => codeOf(client.read(i * mib, Buffer.alloc(mib))));
    await codes[3];
    await running[0]?.kill9();
    const settled = await Promise.all(codes);
    expect(new Set(settled)).toEqual(new Set(['no fault', 'NBD_DISCONNECTED']));
  });
});

describe('NbdClient and TLS', () => {
  const serveTls = async (...args: string[]): Promise<{ host: string; port: number; exportName: string }> => {
    await writeFile(at('x.raw'), randomFillSync(Buffer.alloc(8 * mib)));
    const port = await freePort();
    start(
      'qemu-nbd',
      '-t',
      '-e',
      '8',
      '-b',
      '127.0.0.1',
      '-p',
      String(port),
      '-f',
      'raw',
      '-x',
      'vda',
      ...args,
      at('x.raw'),
    );
    await until(() => listens({ host: '127.0.0.1', port }));
    return { host: '127.0.0.1', port, exportName: 'vda' };
  };

  it('reads and writes with a shared key', async () => {
    await writeFile(at('keys.psk'), `mover:${Buffer.alloc(32, 7).toString('hex')}\n`);
    const creds = `tls-creds-psk,id=t0,endpoint=server,dir=${dir.path}`;
    const endpoint = await serveTls('--object', creds, '--tls-creds', 't0');
    const psk = (fill: number) => ({ kind: 'psk', identity: 'mover', key: Buffer.alloc(32, fill) }) as const;
    const client = await connect({ ...endpoint, tls: psk(7) }, { contexts: ['base:allocation'] });
    const raw = await readFile(at('x.raw'));
    expect(Buffer.compare(await readAll(client), raw)).toBe(0);
    await client.write(mib, raw.subarray(0, mib));
    await client.flush();
    expect(Buffer.compare((await readFile(at('x.raw'))).subarray(mib, 2 * mib), raw.subarray(0, mib))).toBe(
      0,
    );
    expect(await codeOf(NbdClient.connect({ ...endpoint, tls: psk(8) }))).toBe('NBD_REFUSED');
    expect(await codeOf(NbdClient.connect(endpoint))).toBe('NBD_REFUSED');
  });

  it('trusts certificates of its authority alone, in both directions', async () => {
    const pki = at('pki');
    await mkdir(pki);
    const pem = (name: string): string => join(pki, `${name}.pem`);
    const key = ['-newkey', 'rsa:2048', '-nodes', '-subj'];
    await run(
      'openssl',
      'req',
      '-x509',
      ...key,
      '/CN=test authority',
      '-keyout',
      pem('ca-key'),
      '-out',
      pem('ca-cert'),
    );
    for (const name of ['server', 'client']) {
      await run(
        'openssl',
        'req',
        ...key,
        `/CN=${name}`,
        '-keyout',
        pem(`${name}-key`),
        '-out',
        pem(`${name}-csr`),
      );
      await writeFile(pem('ext'), 'subjectAltName=IP:127.0.0.1,DNS:nbd.test\n');
      const by = ['-CA', pem('ca-cert'), '-CAkey', pem('ca-key'), '-CAcreateserial', '-extfile', pem('ext')];
      await run('openssl', 'x509', '-req', '-in', pem(`${name}-csr`), ...by, '-out', pem(`${name}-cert`));
    }
    const creds = `tls-creds-x509,id=t0,endpoint=server,dir=${pki},verify-peer=yes`;
    const endpoint = await serveTls('--object', creds, '--tls-creds', 't0');
    const text = (name: string): Promise<string> => readFile(pem(name), 'utf8');
    const ca = await text('ca-cert');
    const own = { kind: 'x509', ca, cert: await text('client-cert'), key: await text('client-key') } as const;
    const client = await connect({ ...endpoint, tls: own });
    expect(Buffer.compare(await readAll(client), await readFile(at('x.raw')))).toBe(0);
    await connect({ ...endpoint, tls: { ...own, servername: 'nbd.test' } });
    const refused = ['NBD_REFUSED', 'NBD_DISCONNECTED'];
    for (const tls of [
      { ...own, servername: 'other.test' },
      { kind: 'x509', ca } as const,
      { ...own, ca: await text('server-cert') },
    ]) {
      expect(refused).toContain(await codeOf(NbdClient.connect({ ...endpoint, tls })));
    }
  });
});

describe('NbdClient and nbdkit', () => {
  it('reads and writes a disk in memory of odd size', async () => {
    const endpoint = await serve('nbdkit', 'memory', String(3 * mib + 7));
    const client = await connect(endpoint, { contexts: ['base:allocation'] });
    expect(client).toMatchObject({ sizeBytes: 3 * mib + 7, canMultiConn: true });
    const content = randomFillSync(Buffer.alloc(3 * mib + 7));
    await client.write(0, content);
    await client.writeZeroes(mib, mib);
    content.fill(0, mib, 2 * mib);
    expect(Buffer.compare(await readAll(client), content)).toBe(0);
    const zero = (await collect(client.extents('base:allocation'))).filter(({ flags }) => isZero(flags));
    expect(zero).toEqual([{ offset: mib, length: mib, flags: 3 }]);
  });

  it('obeys block sizes that are enforced', async () => {
    const policy = [
      'blocksize-minimum=4096',
      'blocksize-preferred=65536',
      'blocksize-maximum=262144',
      'blocksize-error-policy=error',
    ];
    const endpoint = await serve('nbdkit', '--filter=blocksize-policy', 'memory', '2M', ...policy);
    const client = await connect(endpoint);
    expect(client).toMatchObject({ minBlockBytes: 4096, maxBlockBytes: 262_144 });
    const content = randomFillSync(Buffer.alloc(2 * mib));
    await client.write(0, content);
    expect(Buffer.compare(await readAll(client, 700 * 4096), content)).toBe(0);
    expect(await codeOf(client.read(512, Buffer.alloc(4096)))).toBe('INPUT_INVALID');
  });

  it('tells failing reads from good ones, and goes on', async () => {
    const endpoint = await serve(
      'nbdkit',
      '--filter=error',
      'memory',
      '16M',
      'error-pread=ENOSPC',
      'error-pread-rate=50%',
    );
    const client = await connect(endpoint);
    const codes = Array.from({ length: 200 }, (_, i) => codeOf(client.read(i * 4096, Buffer.alloc(4096))));
    const settled = await Promise.all(codes);
    expect(new Set(settled)).toEqual(new Set(['no fault', 'NBD_IO']));
    const failed = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        client.read(i * 4096, Buffer.alloc(4096)).catch((error: unknown) => Fault.from(error)),
      ),
    );
    for (const [i, fault] of failed.entries()) {
      if (fault !== undefined) expect(fault.details).toEqual({ errno: 'ENOSPC', offset: i * 4096 });
    }
  });

  it('keeps requests under way at once on a slow disk', async () => {
    const endpoint = await serve('nbdkit', '--filter=delay', 'memory', '16M', 'rdelay=1');
    const client = await connect(endpoint);
    const started = performance.now();
    await Promise.all(Array.from({ length: 8 }, (_, i) => client.read(i * mib, Buffer.alloc(mib))));
    expect(performance.now() - started).toBeLessThan(8 * 1_000);
  });

  it('drops a slow connection when it is aborted', async () => {
    const endpoint = await serve('nbdkit', '--filter=delay', 'memory', '16M', 'rdelay=20');
    const client = await connect(endpoint, { signal: AbortSignal.timeout(100) });
    expect(await codeOf(client.read(0, Buffer.alloc(4096)))).toBe('DEADLINE_EXCEEDED');
  });
});
