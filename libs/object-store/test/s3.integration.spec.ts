import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { crc32 } from 'node:zlib';
import { Fault } from '@casvault/contracts';
import {
  type CephRgw,
  type S3Proxy,
  startCephRgw,
  startS3Proxy,
  tempDir,
  type TempDir,
} from '@casvault/testkit';
import { type S3Location } from '../src/s3-connection.js';
import { S3ObjectStore, type S3StoreOptions } from '../src/s3-object-store.js';
import { describeObjectStore } from '../src/testing/index.js';

const mib = 1024 * 1024;
/** Quick retries and a small page, so that a test sees many of both. */
const options: S3StoreOptions = {
  retry: { attempts: 4, firstDelayMs: 5, maxDelayMs: 20 },
  timeouts: { connectMs: 2000, silenceMs: 1000 },
  multipartBytes: 6 * mib,
  multipart: { partBytes: 5 * mib, width: 2 },
  pageSize: 7,
};

let dir: TempDir;
let rgw: CephRgw;
let prefixes = 0;
const locationOf = (endpoint: string, prefix = `pool-${(prefixes += 1)}`): S3Location => ({
  kind: 's3',
  endpoint,
  region: 'us-east-1',
  bucket: 'pools',
  prefix,
  accessKeyId: rgw.accessKeyId,
  secretKey: rgw.secretKey,
  forcePathStyle: true,
});

beforeAll(async () => {
  dir = await tempDir('rgw');
  rgw = await startCephRgw({ dir: dir.path });
  await rgw.createBucket('pools');
});
afterAll(async () => {
  await rgw.stop();
  await dir.remove();
});

describeObjectStore('S3ObjectStore on Ceph RGW', async () => {
  const location = locationOf(rgw.endpoint);
  return {
    store: new S3ObjectStore(location, options),
    other: new S3ObjectStore(location, options),
    stop: async () => undefined,
  };
});

const codeOf = (action: Promise<unknown>): Promise<string> =>
  action.then(
    () => 'no fault',
    (error: unknown) => Fault.from(error).code,
  );
const bytes = (size: number, value: number): Buffer => Buffer.alloc(size, value);

describe('S3ObjectStore and what its location says', () => {
  const stat = async (location: S3Location): Promise<string> => {
    const store = new S3ObjectStore(location, options);
    const code = await codeOf(store.stat('a'));
    const put = await codeOf(store.put('a', bytes(1, 1)));
    await store.close();
    return `${code} ${put}`;
  };

  it('knows a wrong secret, a wrong user, a missing bucket and a dead endpoint', async () => {
    const right = locationOf(rgw.endpoint);
    const denied = 'POOL_ACCESS_DENIED POOL_ACCESS_DENIED';
    const away = 'POOL_UNREACHABLE POOL_UNREACHABLE';
    expect(await stat({ ...right, secretKey: 'wrong' })).toBe(denied);
    expect(await stat({ ...right, accessKeyId: 'nobody' })).toBe(denied);
    expect(await stat({ ...right, bucket: 'no-such-bucket' })).toBe(away);
    expect(await stat({ ...right, endpoint: 'http://127.0.0.1:1' })).toBe(away);
    expect(await stat(right)).toBe('no fault no fault');
  });

  it('keeps pools of one bucket apart', async () => {
    const [one, two] = [locationOf(rgw.endpoint, 'apart/1'), locationOf(rgw.endpoint, 'apart/1x')];
    const stores = [new S3ObjectStore(one, options), new S3ObjectStore(two, options)];
    for (const [index, store] of stores.entries()) await store.put('k', bytes(index + 1, 1));
    for (const [index, store] of stores.entries()) {
      const listed = [];
      for await (const object of store.list('')) listed.push(object);
      expect(listed).toEqual([{ key: 'k', sizeBytes: index + 1 }]);
      await store.close();
    }
  });

  it('keeps the secret out of faults', async () => {
    const store = new S3ObjectStore({ ...locationOf(rgw.endpoint), secretKey: 'not-to-be-told' }, options);
    const fault = await store.put('a', bytes(1, 1)).catch((error: unknown) => Fault.from(error));
    expect(JSON.stringify([fault, String(fault)])).not.toContain('not-to-be-told');
    await store.close();
  });
});

describe('S3ObjectStore through a faulty network', () => {
  let proxy: S3Proxy;
  let store: S3ObjectStore;
  let direct: S3ObjectStore;
  beforeEach(async () => {
    proxy = await startS3Proxy({ target: rgw.endpoint });
    const location = locationOf(proxy.endpoint);
    store = new S3ObjectStore(location, options);
    direct = new S3ObjectStore({ ...location, endpoint: rgw.endpoint }, options);
  });
  afterEach(async () => {
    await store.close();
    await direct.close();
    await proxy.stop();
  });

  it.each([
    { kind: 'status', status: 503 },
    { kind: 'status', status: 500 },
    { kind: 'status', status: 429 },
    { kind: 'cut-request', afterBytes: 70_000 },
    { kind: 'drop-reply' },
    { kind: 'replace-reply', status: 502 },
    { kind: 'silence' },
  ] as const)('writes through two times %j', async (fault) => {
    for (const ifAbsent of [false, true]) {
      proxy.inject({ fault, method: 'PUT', times: 2 });
      await store.put(`object-${ifAbsent}`, bytes(300_000, 7), { ifAbsent });
      expect(Buffer.compare(await direct.get(`object-${ifAbsent}`), bytes(300_000, 7))).toBe(0);
    }
  });

  it.each([
    { kind: 'status', status: 503 },
    { kind: 'cut-reply', afterBytes: 100_000 },
    { kind: 'drop-reply' },
    { kind: 'silence' },
  ] as const)('reads through two times %j', async (fault) => {
    await direct.put('object', bytes(300_000, 8));
    proxy.inject({ fault, method: 'GET', times: 2 });
    expect(Buffer.compare(await store.get('object'), bytes(300_000, 8))).toBe(0);
    proxy.inject({ fault, method: 'GET', times: 2 });
    const range = { offset: 1000, length: 200_000 };
    expect(Buffer.compare(await store.get('object', { range }), bytes(200_000, 8))).toBe(0);
  });

  it.each([
    { kind: 'status', status: 503 },
    { kind: 'cut-reply', afterBytes: 200 },
    { kind: 'drop-reply' },
  ] as const)('lists through two times %j, each object once', async (fault) => {
    for (let i = 10; i < 40; i += 1) await direct.put(`l/${i}`, bytes(i, 1));
    proxy.inject({ fault, method: 'GET', path: /list-type/, times: 2 });
    const sizes: number[] = [];
    for await (const { sizeBytes } of store.list('l/')) sizes.push(sizeBytes);
    expect(sizes).toEqual(Array.from({ length: 30 }, (_, i) => i + 10));
  });

  it('deletes when the reply is lost', async () => {
    await direct.put('object', bytes(10, 1));
    proxy.inject({ fault: { kind: 'drop-reply' }, method: 'DELETE', times: 2 });
    await store.delete('object');
    expect(await direct.stat('object')).toBeNull();
  });

  it('gives up after its attempts', async () => {
    proxy.inject({ fault: { kind: 'status', status: 503 }, times: 100 });
    expect(await codeOf(store.put('object', bytes(10, 1)))).toBe('POOL_UNREACHABLE');
    expect(proxy.requests).toHaveLength(4);
  });

  it('does not repeat what is denied, full or bad', async () => {
    for (const [status, code] of [
      [403, 'POOL_ACCESS_DENIED'],
      [507, 'POOL_FULL'],
      [400, 'POOL_UNREACHABLE'],
    ] as const) {
      const before = proxy.requests.length;
      proxy.inject({ fault: { kind: 'status', status } });
      expect(await codeOf(store.put('object', bytes(10, 1)))).toBe(code);
      expect(proxy.requests.length - before).toBe(1);
    }
  });

  it('has won the race when its first try did, though it was told of the repetition only', async () => {
    proxy.inject({ fault: { kind: 'drop-reply' }, method: 'PUT' });
    await store.put('claim', bytes(10, 1), { ifAbsent: true });
    expect(proxy.requests.filter((one) => one.startsWith('PUT'))).toHaveLength(2);
    expect(await codeOf(store.put('claim', bytes(10, 2), { ifAbsent: true }))).toBe('POOL_OBJECT_EXISTS');
    expect(Buffer.compare(await direct.get('claim'), bytes(10, 1))).toBe(0);
  });

  it('has lost the race when another won between its tries', async () => {
    proxy.inject({ fault: { kind: 'cut-request', afterBytes: 1 }, method: 'PUT', path: /claim/ });
    await direct.put('claim', bytes(10, 2), { ifAbsent: true });
    expect(await codeOf(store.put('claim', bytes(10, 1), { ifAbsent: true }))).toBe('POOL_OBJECT_EXISTS');
    expect(Buffer.compare(await direct.get('claim'), bytes(10, 2))).toBe(0);
  });

  it('stops waiting for a silent store when it is aborted', async () => {
    proxy.inject({ fault: { kind: 'silence' }, times: 10 });
    const signal = AbortSignal.timeout(50);
    expect(await codeOf(store.get('object', { signal }))).toBe('DEADLINE_EXCEEDED');
    expect(proxy.requests.length).toBeLessThanOrEqual(1);
  });

  describe('in parts', () => {
    const large = Buffer.concat([bytes(5 * mib, 1), bytes(5 * mib, 2), bytes(3 * mib + 5, 3)]);

    it.each([
      ['a part', { fault: { kind: 'status', status: 503 }, path: /partNumber=2/, times: 2 }],
      ['a part', { fault: { kind: 'cut-request', afterBytes: mib }, path: /partNumber=1/, times: 2 }],
      ['a reply to a part', { fault: { kind: 'drop-reply' }, path: /partNumber=3/, times: 2 }],
      ['the reply to the beginning', { fault: { kind: 'drop-reply' }, path: /\?uploads/ }],
      ['the reply to the completion', { fault: { kind: 'drop-reply' }, method: 'POST', path: /uploadId=/ }],
    ] as const)('writes although %s is lost', async (_what, rule) => {
      proxy.inject(rule);
      await store.put('large', large);
      expect(Buffer.compare(await direct.get('large'), large)).toBe(0);
      expect(proxy.requests.filter((one) => one.includes('partNumber')).length).toBeGreaterThanOrEqual(3);
    });

    it('shows nothing of an upload that fails, and takes it back', async () => {
      proxy.inject({ fault: { kind: 'status', status: 403 }, path: /partNumber=2/ });
      expect(await codeOf(store.put('large', large))).toBe('POOL_ACCESS_DENIED');
      expect(await direct.stat('large')).toBeNull();
      expect(proxy.requests.filter((one) => one.startsWith('DELETE'))).toHaveLength(1);
    });

    it('does not write in parts what must be new', async () => {
      await store.put('large', large, { ifAbsent: true });
      expect(await codeOf(store.put('large', large, { ifAbsent: true }))).toBe('POOL_OBJECT_EXISTS');
      expect(proxy.requests.some((one) => one.includes('partNumber'))).toBe(false);
    });
  });
});

describe('S3ObjectStore over TLS', () => {
  let proxy: S3Proxy;
  let ca: string;
  beforeAll(async () => {
    const [key, cert] = [join(dir.path, 'key.pem'), join(dir.path, 'cert.pem')];
    const name = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'];
    const shape = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1'];
    await promisify(execFile)('openssl', [...shape, ...name, '-keyout', key, '-out', cert]);
    ca = await readFile(cert, 'utf8');
    proxy = await startS3Proxy({ target: rgw.endpoint, tls: { cert: ca, key: await readFile(key, 'utf8') } });
  });
  afterAll(() => proxy.stop());

  it('leaves bodies unsigned and gives the store their CRC instead', async () => {
    const store = new S3ObjectStore(locationOf(proxy.endpoint), { ...options, ca });
    const body = bytes(100_000, 6);
    await store.put('object', body, { ifAbsent: true });
    expect(Buffer.compare(await store.get('object'), body)).toBe(0);
    const sum = Buffer.alloc(4);
    sum.writeUInt32BE(crc32(body));
    expect(proxy.headers[0]).toMatchObject({
      'x-amz-content-sha256': 'UNSIGNED-PAYLOAD',
      'x-amz-checksum-crc32': sum.toString('base64'),
    });
    const large = bytes(7 * mib, 9);
    await store.put('large', large);
    expect(Buffer.compare(await store.get('large'), large)).toBe(0);
    await store.close();
  });

  it('talks to no server whose certificate it can not trace', async () => {
    const store = new S3ObjectStore(locationOf(proxy.endpoint), options);
    expect(await codeOf(store.put('object', bytes(1, 1)))).toBe('POOL_UNREACHABLE');
    await store.close();
  });
});
