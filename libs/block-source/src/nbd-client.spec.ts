import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '@casvault/contracts';
import { type Extent } from './disk.js';
import { listNbdExports, NbdClient, type NbdConnectOptions } from './nbd-client.js';
import { type NbdEndpoint } from './nbd-endpoint.js';
import { command, option, optionError, optionReply } from './nbd-wire.js';
import {
  type MemoryNbdServer,
  type ServedDisk,
  type ServerScript,
  startMemoryNbdServer,
} from './testing/memory-nbd-server.js';
import {
  ackBytes,
  blockSizeInfoBytes,
  dataBytes,
  errorBytes,
  exportInfoBytes,
  greetingBytes,
  optionReplyBytes,
  simpleReplyBytes,
} from './testing/server-messages.js';

const kib = 1024;
const randomDisk = (size = 256 * kib): Buffer => randomFillSync(Buffer.alloc(size));
const faultOf = (action: Promise<unknown>): Promise<Fault | null> =>
  action.then(
    () => null,
    (error: unknown) => Fault.from(error),
  );
const codeOf = async (action: Promise<unknown>): Promise<string | undefined> => (await faultOf(action))?.code;

let server: MemoryNbdServer | null = null;
let clients: NbdClient[] = [];
const serve = async (disk: ServedDisk, script?: ServerScript): Promise<MemoryNbdServer> => {
  server = await startMemoryNbdServer(disk, script);
  return server;
};
const connect = async (endpoint: NbdEndpoint, options?: NbdConnectOptions): Promise<NbdClient> => {
  const client = await NbdClient.connect(endpoint, options);
  clients.push(client);
  return client;
};
const open = async (
  disk: ServedDisk,
  script?: ServerScript,
  options?: NbdConnectOptions,
): Promise<NbdClient> => connect((await serve(disk, script)).endpoint, options);
afterEach(async () => {
  for (const client of clients) client.destroy();
  clients = [];
  await server?.stop();
  server = null;
});

describe('NbdClient on a good server', () => {
  it('tells what the server can do', async () => {
    const client = await open({ bytes: randomDisk(1000 * kib), minBlockBytes: 512, maxBlockBytes: 100_000 });
    expect(client).toMatchObject({
      sizeBytes: 1000 * kib,
      readOnly: false,
      canWriteZeroes: true,
      canTrim: false,
      canMultiConn: true,
      minBlockBytes: 512,
      maxBlockBytes: 99_840,
    });
  });

  it.each([undefined, 5000])('reads whole and in pieces into place (chunks of %s)', async (chunkBytes) => {
    const bytes = randomDisk();
    bytes.fill(0, 20_000, 90_000);
    const client = await open({ bytes }, { chunkBytes });
    const memory = Buffer.alloc(bytes.length + 20, 0xee);
    await client.read(0, memory.subarray(10, 10 + bytes.length));
    expect(Buffer.compare(memory.subarray(10, 10 + bytes.length), bytes)).toBe(0);
    expect(memory.subarray(0, 10).every((byte) => byte === 0xee)).toBe(true);
    expect(memory.subarray(-10).every((byte) => byte === 0xee)).toBe(true);
  });

  it('splits requests that are longer than the server takes', async () => {
    const bytes = randomDisk();
    const client = await open({ bytes: Buffer.from(bytes), maxBlockBytes: 65536, minBlockBytes: 512 });
    const into = Buffer.alloc(200 * kib);
    await client.read(512, into);
    expect(Buffer.compare(into, bytes.subarray(512, 512 + into.length))).toBe(0);
    await client.write(0, bytes.subarray(10_000, 10_000 + 150 * kib));
    await client.read(0, into);
    expect(Buffer.compare(into.subarray(0, 150 * kib), bytes.subarray(10_000, 10_000 + 150 * kib))).toBe(0);
    expect(Math.max(...(server?.requests ?? []).map(({ length }) => length))).toBe(65536);
  });

  it('reads half a MiB and writes a MiB at once at most, whatever the server takes', async () => {
    const client = await open({ bytes: Buffer.alloc(1100 * kib) });
    await client.read(0, Buffer.alloc(1100 * kib));
    await client.write(0, Buffer.alloc(1100 * kib));
    const lengths = (server?.requests ?? []).map(({ length }) => length / kib);
    expect(lengths).toEqual([512, 512, 76, 1024, 76]);
  });

  it('sends a few parts of a long request at a time', async () => {
    const client = await open(
      { bytes: Buffer.alloc(512 * kib), maxBlockBytes: 4096 },
      { reply: () => 'silence' },
    );
    const writing = codeOf(client.write(0, Buffer.alloc(512 * kib)));
    await sleep(50);
    expect(server?.requests).toHaveLength(16);
    client.destroy();
    expect(await writing).toBe('NBD_DISCONNECTED');
  });

  it('sends no more parts after one has failed', async () => {
    const disk = { bytes: Buffer.alloc(512 * kib), maxBlockBytes: 4096 };
    const client = await open(disk, {
      reply: ({ cookie }) => simpleReplyBytes(cookie, cookie === 40 ? 5 : 0),
    });
    expect(await codeOf(client.write(0, Buffer.alloc(512 * kib)))).toBe('NBD_IO');
    expect(server?.requests.length).toBeLessThan(40 + 16);
  });

  it('keeps many requests under way, and answers come to the right ones', async () => {
    const bytes = randomDisk();
    const held: (() => Buffer)[] = [];
    const client = await open(
      { bytes },
      {
        // Every reply waits for the next three requests and comes in reverse order.
        reply: (_request, ordinary) => {
          held.push(ordinary);
          if (held.length < 4) return 'silence';
          return Buffer.concat(
            held
              .splice(0)
              .reverse()
              .map((reply) => reply()),
          );
        },
      },
    );
    const buffers = Array.from({ length: 32 }, () => Buffer.alloc(4 * kib));
    const reads = buffers.map((buffer, i) => client.read(i * 8 * kib, buffer));
    await Promise.all(reads);
    for (const [i, buffer] of buffers.entries()) {
      expect(Buffer.compare(buffer, bytes.subarray(i * 8 * kib, i * 8 * kib + 4 * kib))).toBe(0);
    }
  });

  it('writes, zeroes and flushes', async () => {
    const bytes = randomDisk(64 * kib);
    const client = await open({ bytes });
    await client.write(100, Buffer.from('written'));
    await client.writeZeroes(1000, 2000);
    await client.writeZeroes(5000, 10, { noHole: true });
    await client.flush();
    expect(bytes.toString('latin1', 100, 107)).toBe('written');
    expect(bytes.subarray(1000, 3000).every((byte) => byte === 0)).toBe(true);
    expect(server?.requests.map(({ command: kind, flags }) => [kind, flags])).toEqual([
      [command.write, 0],
      [command.writeZeroes, 0],
      [command.writeZeroes, 2],
      [command.flush, 0],
    ]);
  });

  it('gives the extents of granted contexts', async () => {
    const contexts = {
      'base:allocation': [
        [100 * kib, 3],
        [28 * kib, 0],
      ],
      'qemu:dirty-bitmap:b': [
        [1 * kib, 1],
        [127 * kib, 0],
      ],
    } as const;
    const wanted = ['qemu:dirty-bitmap:gone', 'base:allocation', 'qemu:dirty-bitmap:b'];
    const client = await open(
      { bytes: randomDisk(128 * kib), contexts },
      { maxDescriptors: 1 },
      { contexts: wanted },
    );
    expect([...client.contexts].sort()).toEqual(['base:allocation', 'qemu:dirty-bitmap:b']);
    const found: Extent[] = [];
    for await (const extent of client.extents('qemu:dirty-bitmap:b')) found.push(extent);
    expect(found).toEqual([
      { offset: 0, length: 1 * kib, flags: 1 },
      { offset: 1 * kib, length: 127 * kib, flags: 0 },
    ]);
    const part: Extent[] = [];
    for await (const extent of client.extents('base:allocation', { offset: 90 * kib, length: 20 * kib }))
      part.push(extent);
    expect(part).toEqual([
      { offset: 90 * kib, length: 10 * kib, flags: 3 },
      { offset: 100 * kib, length: 10 * kib, flags: 0 },
    ]);
    expect(() => client.extents('qemu:dirty-bitmap:gone')).toThrow('was not granted');
  });

  it('refuses what the disk or its terms do not allow, and sends nothing', async () => {
    const client = await open({ bytes: Buffer.alloc(10 * kib + 512), minBlockBytes: kib, readOnly: true });
    const into = Buffer.alloc(kib);
    for (const action of [
      client.read(-kib, into),
      client.read(10 * kib, into),
      client.read(NaN, into),
      client.read(512, into),
      client.read(0, Buffer.alloc(100)),
      client.write(0, into),
      client.writeZeroes(0, kib),
    ]) {
      expect(await codeOf(action)).toBe('INPUT_INVALID');
    }
    await client.read(0, Buffer.alloc(0));
    expect(server?.requests).toEqual([]);
    await client.read(10 * kib, Buffer.alloc(512));
  });

  it('lists exports', async () => {
    const { endpoint } = await serve({ bytes: Buffer.alloc(512) });
    expect(await listNbdExports(endpoint)).toEqual(['disk']);
  });

  it('says goodbye', async () => {
    const client = await open({ bytes: Buffer.alloc(512) });
    await Promise.all([client.close(), client.close()]);
    await client.close();
    expect(server?.requests).toMatchObject([{ command: command.disconnect, offset: 0, length: 0 }]);
    expect(await codeOf(client.read(0, Buffer.alloc(1)))).toBe('NBD_DISCONNECTED');
    await sleep(20);
    expect(server?.connections).toBe(0);
  });
});

describe('NbdClient and older servers', () => {
  const unsupported =
    (...codes: number[]) =>
    (code: number): Buffer | null =>
      codes.includes(code) ? optionReplyBytes(code, optionError.unsupported) : null;

  it('reads and writes without structured replies', async () => {
    const bytes = randomDisk();
    const client = await open(
      { bytes },
      { option: unsupported(option.structuredReply) },
      { contexts: ['base:allocation'] },
    );
    expect(client.contexts.size).toBe(0);
    const into = Buffer.alloc(bytes.length);
    await client.read(0, into);
    await client.write(0, Buffer.from('x'));
    expect(Buffer.compare(into.subarray(1), bytes.subarray(1))).toBe(0);
  });

  it('enters by name where NBD_OPT_GO is unknown', async () => {
    const bytes = randomDisk();
    const client = await open({ bytes }, { option: unsupported(option.go) });
    expect(client.maxBlockBytes).toBe(32 * 1024 * kib);
    const into = Buffer.alloc(1000);
    await client.read(500, into);
    expect(Buffer.compare(into, bytes.subarray(500, 1500))).toBe(0);
  });
});

describe('NbdClient and handshakes that go wrong', () => {
  const disk = { bytes: Buffer.alloc(kib) };
  const go = (...infos: Buffer[]): Buffer =>
    Buffer.concat([
      ...infos.map((data) => optionReplyBytes(option.go, optionReply.info, data)),
      ackBytes(option.go),
    ]);
  const onGo = (bytes: Buffer): ServerScript => ({ option: (code) => (code === option.go ? bytes : null) });
  const size = exportInfoBytes(kib, 1);

  it.each<[string, ServerScript]>([
    ['no NBD server', { greeting: Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n') }],
    ['the old style', { greeting: Buffer.concat([greetingBytes().subarray(0, 8), Buffer.alloc(144)]) }],
    ['no fixed newstyle', { greeting: greetingBytes(2) }],
    ['a wrong magic of an option reply', { option: () => Buffer.alloc(20) }],
    ['a reply to another option', { option: () => ackBytes(option.list) }],
    [
      'an endless option reply',
      { option: (code) => optionReplyBytes(code, optionReply.ack, Buffer.alloc(20_000)) },
    ],
    [
      'endless option replies',
      onGo(
        Buffer.concat(
          Array.from({ length: 5000 }, () => optionReplyBytes(option.go, optionReply.info, size)),
        ),
      ),
    ],
    ['no size', onGo(go())],
    ['a short size', onGo(go(size.subarray(0, 10)))],
    ['a size beyond 2^53', onGo(go(exportInfoBytes(2n ** 60n, 1)))],
    ['no transmission flags', onGo(go(exportInfoBytes(kib, 0)))],
    ['an information of one byte', onGo(go(Buffer.alloc(1)))],
    [
      'a server reply instead of information',
      onGo(Buffer.concat([optionReplyBytes(option.go, optionReply.server, size), ackBytes(option.go)])),
    ],
    ['a block size that is no power of two', onGo(go(size, blockSizeInfoBytes(3, 4096, 65536)))],
    ['a block size of 0', onGo(go(size, blockSizeInfoBytes(0, 4096, 65536)))],
    ['a block size of 128 KiB', onGo(go(size, blockSizeInfoBytes(131072, 131072, 1 << 20)))],
    ['no room for one block', onGo(go(size, blockSizeInfoBytes(4096, 4096, 512)))],
  ])('breaks off at %s', async (_what, script) => {
    const { endpoint } = await serve(disk, script);
    expect(await codeOf(NbdClient.connect(endpoint))).toBe('NBD_PROTOCOL');
    await sleep(20);
    expect(server?.connections).toBe(0);
  });

  it('tells that there is no such export', async () => {
    const { endpoint } = await serve(disk);
    const fault = await faultOf(NbdClient.connect({ ...endpoint, exportName: 'none' }));
    expect([fault?.code, fault?.message]).toEqual([
      'NBD_REFUSED',
      'NBD server refused export "none": no such export',
    ]);
  });

  it('tells that TLS is required', async () => {
    const { endpoint } = await serve(disk, {
      option: (code) => optionReplyBytes(code, optionError.tlsRequired, Buffer.from('use TLS')),
    });
    const fault = await faultOf(NbdClient.connect(endpoint));
    expect([fault?.code, fault?.details]).toEqual(['NBD_REFUSED', { reason: 'TLS required' }]);
  });

  it('does not go on in clear when TLS is refused or words slip in before it', async () => {
    const refusing = await serve(disk);
    const tls = { kind: 'psk', identity: 'mover', key: Buffer.alloc(16) } as const;
    const secure = { ...refusing.endpoint, tls } as NbdEndpoint;
    expect(await codeOf(NbdClient.connect(secure))).toBe('NBD_REFUSED');
    await refusing.stop();
    const { endpoint } = await serve(disk, {
      option: (code) => Buffer.concat([ackBytes(code), ackBytes(option.structuredReply)]),
    });
    expect(await codeOf(NbdClient.connect({ ...endpoint, tls }))).toBe('NBD_PROTOCOL');
  });

  it('tells that nobody listens, and who hangs up', async () => {
    const probe = net.createServer().listen(0, '127.0.0.1');
    await once(probe, 'listening');
    const { port } = probe.address() as AddressInfo;
    probe.close();
    const dead = await faultOf(NbdClient.connect({ host: '127.0.0.1', port, exportName: 'x' }));
    expect([dead?.code, dead?.message.includes('ECONNREFUSED')]).toEqual(['NBD_DISCONNECTED', true]);
    expect(await codeOf(NbdClient.connect({ path: '/var/tmp/no-such.sock', exportName: '' }))).toBe(
      'NBD_DISCONNECTED',
    );
    const { endpoint } = await serve(disk, { option: () => 'hang up' });
    expect(await codeOf(NbdClient.connect(endpoint))).toBe('NBD_DISCONNECTED');
  });

  it('stops connecting when it is aborted', async () => {
    const { endpoint } = await serve(disk, { greeting: Buffer.from('NBD') });
    const signal = AbortSignal.timeout(30);
    expect(await codeOf(NbdClient.connect(endpoint, { signal }))).toBe('DEADLINE_EXCEEDED');
    expect(await codeOf(NbdClient.connect(endpoint, { signal }))).toBe('DEADLINE_EXCEEDED');
  });
});

describe('NbdClient and transmission that goes wrong', () => {
  const bytes = randomDisk();

  it('fails one request and goes on with the others', async () => {
    const client = await open(
      { bytes },
      {
        reply: ({ cookie, offset }, ordinary) =>
          offset === 4096 ? simpleReplyBytes(cookie, 28) : ordinary(),
      },
    );
    const into = Buffer.alloc(100);
    const failed = faultOf(client.write(4096, Buffer.alloc(10)));
    await client.read(0, into);
    expect(await failed).toMatchObject({ code: 'NBD_IO', details: { errno: 'ENOSPC', offset: 4096 } });
    expect(Buffer.compare(into, bytes.subarray(0, 100))).toBe(0);
  });

  it('rejects everything outstanding once, whatever ends the connection', async () => {
    for (const [ending, code] of [
      [{ last: Buffer.alloc(0) }, 'NBD_DISCONNECTED'],
      [Buffer.alloc(64, 1), 'NBD_PROTOCOL'],
      [dataBytes(1, 0, Buffer.alloc(9), { done: true }), 'NBD_PROTOCOL'],
    ] as const) {
      let count = 0;
      const client = await open(
        { bytes },
        {
          reply: () => {
            count += 1;
            return count === 6 ? ending : 'silence';
          },
        },
      );
      const outstanding = Array.from({ length: 6 }, (_, i) => codeOf(client.read(i * 10, Buffer.alloc(10))));
      expect(await Promise.all(outstanding)).toEqual(Array.from({ length: 6 }, () => code));
      expect(await codeOf(client.read(0, Buffer.alloc(10)))).toBe(code);
      await server?.stop();
    }
  });

  it('is disconnected in the middle of a payload', async () => {
    const client = await open(
      { bytes },
      { reply: (_request, ordinary) => ({ last: ordinary().subarray(0, 100_000) }) },
    );
    const into = Buffer.alloc(bytes.length);
    expect(await codeOf(client.read(0, into))).toBe('NBD_DISCONNECTED');
    const after = Buffer.from(into);
    await sleep(20);
    expect(Buffer.compare(into, after)).toBe(0);
    expect(Buffer.compare(into.subarray(0, 99_000), bytes.subarray(0, 99_000))).toBe(0);
  });

  it('settles a split read only when no part of it is under way', async () => {
    const client = await open(
      { bytes, maxBlockBytes: 65536 },
      {
        reply: ({ cookie, offset }, ordinary) =>
          offset === 0 ? errorBytes(cookie, 5, '', { done: true }) : ordinary(),
      },
    );
    const into = Buffer.alloc(bytes.length, 0xee);
    expect(await codeOf(client.read(0, into))).toBe('NBD_IO');
    into.fill(0xdd);
    await sleep(20);
    expect(into.every((byte) => byte === 0xdd)).toBe(true);
  });

  it("drops the connection when its signal is aborted, with the signal's reason", async () => {
    const control = new AbortController();
    const client = await open({ bytes }, { reply: () => 'silence' }, { signal: control.signal });
    const outstanding = [codeOf(client.read(0, Buffer.alloc(10))), codeOf(client.flush())];
    control.abort(new Fault('LEASE_LOST', 'gone'));
    expect(await Promise.all(outstanding)).toEqual(['LEASE_LOST', 'LEASE_LOST']);
    await sleep(20);
    expect(server?.connections).toBe(0);
  });

  it('ends with the server when it says that it is shutting down', async () => {
    const client = await open({ bytes }, { reply: ({ cookie }) => simpleReplyBytes(cookie, 108) });
    expect(await faultOf(client.write(0, Buffer.alloc(10)))).toMatchObject({
      details: { errno: 'ESHUTDOWN' },
    });
    await sleep(50);
    expect(await codeOf(client.write(0, Buffer.alloc(10)))).toBe('NBD_DISCONNECTED');
    expect(server?.connections).toBe(0);
  });

  it('waits a second for a server that does not hang up, not longer', async () => {
    const client = await open({ bytes }, { reply: () => 'silence' });
    const outstanding = codeOf(client.read(0, Buffer.alloc(10)));
    const started = performance.now();
    await client.close();
    expect(performance.now() - started).toBeLessThan(30_000);
    expect(await outstanding).toBe('NBD_DISCONNECTED');
  });
});
