import { createServer } from 'node:net';
import { type AddressInfo } from 'node:net';
import { Fault, type FaultCode } from '@casvault/contracts';
import { recordSpans } from '@casvault/testkit';
import iconv from 'iconv-lite';
import { CasClient, type CasClientOptions } from './client.js';
import { type RecordedCvm, type RecordedReply, startRecordedCvm } from './testing/recorded-cvm.js';

const json = (value: unknown): RecordedReply => ({ body: JSON.stringify(value) });
const gbk = (text: string): string => iconv.encode(text, 'gbk').toString('latin1');
const refusal = (code: string, text: string): RecordedReply => ({
  status: 409,
  headers: { 'error-code': code, 'error-message': gbk(text) },
});
const platform = {
  'GET /operator/test': () => ({ status: 204 }),
  'GET /version': () => json({ casVersion: 'V7.0 (E0760)' }),
  'GET /hostpool/all': () => json({ hostPool: { id: '1', name: 'pool' } }),
  'GET /host': () => json({ host: { '@type': 'kvm', id: '1', ip: '10.0.0.1', name: 'cvk1' } }),
  'GET /host/id/1': () =>
    json({
      id: '1',
      name: 'cvk1',
      ip: '10.0.0.1',
      cpuModel: 'Intel(R) Xeon(R)',
      cpuCount: '32',
      memorySize: '65536',
    }),
};

let cvm: RecordedCvm;
let client: CasClient;
const start = async (
  routes: Parameters<typeof startRecordedCvm>[0]['routes'],
  options: Partial<CasClientOptions> = {},
): Promise<void> => {
  cvm = await startRecordedCvm({ routes });
  client = new CasClient({
    address: '127.0.0.1',
    port: cvm.port,
    ssl: false,
    sslIgnoreErrors: false,
    userName: 'admin',
    password: 'right',
    timing: { pollMs: 5, busyDelayMs: 5, taskTimeoutMs: 2000 },
    ...options,
  });
};
afterEach(async () => {
  client.close();
  await cvm.close();
});
const faultOf = async (work: Promise<unknown>): Promise<{ code: FaultCode; message: string }> => {
  const error: unknown = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!Fault.is(error)) throw new TypeError(`no fault: ${String(error)}`);
  return { code: error.code, message: error.message };
};

describe('C1, C2: a platform is tried', () => {
  it('tells version and architecture', async () => {
    await start(platform);
    expect(await client.probe()).toEqual({
      versionText: 'V7.0 (E0760)',
      release: 'E0760',
      architecture: 'x86_64',
    });
    expect(cvm.challenges).toBe(1);
  });

  it('is seen in the caller’s trace, without the password', async () => {
    const recorder = recordSpans();
    await start(platform);
    const { traceId } = await recorder.inTrace(() => client.probe());
    const span = recorder.span('cvm GET /host/id/{}');
    expect(span.spanContext().traceId).toBe(traceId);
    expect(span.attributes).toEqual({ 'http.response.status_code': 200 });
    expect(JSON.stringify(recorder.ended.map(({ name, attributes }) => [name, attributes]))).not.toContain(
      'right',
    );
  });

  it('signs in again when the nonce has run out', async () => {
    await start(platform);
    await client.test();
    cvm.expireNonces();
    await client.test();
    expect(cvm.challenges).toBe(2);
  });

  it('speaks XML to a CVM that takes no JSON', async () => {
    const xml = (body: string) => (request: { accept: string }) =>
      request.accept === 'application/xml'
        ? { headers: { 'content-type': 'application/xml' }, body }
        : { status: 406 };
    await start({
      ...platform,
      'GET /version': xml('<versionInfo><casVersion>V7.0 (E0710)</casVersion></versionInfo>'),
      'GET /hostpool/all': xml('<list/>'),
      'GET /host': xml('<list><host type="kvm"><id>1</id><ip>10.0.0.1</ip><name>a</name></host></list>'),
      'GET /host/id/1': xml('<host><id>1</id><ip>10.0.0.1</ip><cpuModel>Intel</cpuModel></host>'),
    });
    expect(await client.probe()).toMatchObject({ release: 'E0710' });
  });

  it('wrong password', async () => {
    await start(platform, { password: 'a wrong one' });
    const fault = await faultOf(client.probe());
    expect(fault.code).toBe('PLATFORM_LOGIN_REFUSED');
    expect(fault.message).not.toContain('a wrong one');
  });

  it.each([
    ['401 after a good sign-in', { status: 401 }],
    ['403', { status: 403 }],
    ['a text about permission', refusal('2', '操作员没有操作权限')],
  ])('not an administrator: %s', async (_, reply: RecordedReply) => {
    await start({ ...platform, 'GET /host': () => reply });
    expect((await faultOf(client.probe())).code).toBe('PLATFORM_NOT_ADMINISTRATOR');
  });

  it('unsupported version and architecture', async () => {
    await start({ ...platform, 'GET /version': () => json({ casVersion: 'V5.0 (E0530)' }) });
    expect(await faultOf(client.probe())).toMatchObject({
      code: 'PLATFORM_VERSION_UNSUPPORTED',
      message: expect.stringContaining('E0530') as string,
    });
    await cvm.close();
    await start({
      ...platform,
      'GET /version': () => json({ casVersion: 'V7.0 (E0730)' }),
      'GET /host/id/1': () => json({ id: 1, cpuModel: 'Kunpeng-920' }),
    });
    expect((await faultOf(client.probe())).message).toContain('E0730 is not supported on arm');
  });

  it('nobody listens: names address, port and the ports of a CVM (R17)', async () => {
    await start(platform);
    const free = createServer();
    await new Promise<void>((resolve) => free.listen(0, '127.0.0.1', resolve));
    const { port } = free.address() as AddressInfo;
    await new Promise((resolve) => free.close(resolve));
    client = new CasClient({
      address: '127.0.0.1',
      port,
      ssl: false,
      sslIgnoreErrors: false,
      userName: 'a',
      password: 'b',
    });
    const fault = await faultOf(client.probe());
    expect(fault.code).toBe('PLATFORM_UNREACHABLE');
    expect(fault.message).toContain(`127.0.0.1:${port}`);
    expect(fault.message).toContain('8443, 8080, 443, 80');
  });

  it('a silent CVM is unreachable in time', async () => {
    await start(platform);
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as AddressInfo;
    client = new CasClient({
      address: '127.0.0.1',
      port,
      ssl: false,
      sslIgnoreErrors: false,
      userName: 'a',
      password: 'b',
      timeoutMs: 100,
    });
    expect(await faultOf(client.probe())).toMatchObject({
      code: 'PLATFORM_UNREACHABLE',
      message: expect.stringContaining('did not answer in time') as string,
    });
    silent.close();
  });

  it('a web page is no CVM', async () => {
    await start({
      ...platform,
      'GET /version': () => ({ headers: { 'content-type': 'text/html' }, body: '<html></html>' }),
    });
    expect((await faultOf(client.probe())).code).toBe('PLATFORM_PROTOCOL');
  });
});

describe('tasks', () => {
  const task = (fields: object) => json({ msgId: '1448420536259', ...fields });

  it('waits until a task is completed', async () => {
    let looks = 0;
    await start({
      'PUT /vm/start/7': () => task({ completed: 'false', progress: '0' }),
      'GET /message/1448420536259': () =>
        task({ completed: (looks += 1) < 3 ? 'false' : 'true', result: '0' }),
    });
    await client.startVm('7');
    expect(looks).toBe(3);
  });

  it('takes a bare number as the id of a task', async () => {
    await start({
      'PUT /vm/start/7': () => ({ body: '1448420536259' }),
      'GET /message/1448420536259': () => task({ completed: true, result: 0 }),
    });
    await client.startVm('7');
    expect(cvm.requests).toHaveLength(2);
  });

  it('asks a busy host again, and gives up after the tries', async () => {
    await start({
      'PUT /vm/start/7': () => task({ completed: 'false' }),
      'GET /message/1448420536259': () =>
        task({ completed: 'true', result: '1', failMsg: '主机异常或者正在处理其它事务，请稍候重试。' }),
    });
    expect((await faultOf(client.startVm('7'))).code).toBe('PLATFORM_BUSY');
    expect(cvm.requests.filter((request) => request.method === 'PUT')).toHaveLength(4);
  });

  it('gives the reason of a failed task', async () => {
    await start({
      'PUT /vm/start/7': () => task({ completed: 'false' }),
      'GET /message/1448420536259': () => task({ completed: 'true', result: '1', failMsg: '磁盘空间不足' }),
    });
    expect(await faultOf(client.startVm('7'))).toEqual({
      code: 'PLATFORM_TASK_FAILED',
      message: "the CVM's task to start VM 7 failed: 磁盘空间不足",
    });
  });

  it('a task without an end runs into its deadline', async () => {
    await start(
      {
        'PUT /vm/start/7': () => task({ completed: 'false' }),
        'GET /message/1448420536259': () => task({ completed: 'false' }),
      },
      { timing: { pollMs: 5, taskTimeoutMs: 60 } },
    );
    expect((await faultOf(client.startVm('7'))).code).toBe('DEADLINE_EXCEEDED');
  });

  it('waits no longer than the signal lets it', async () => {
    await start({
      'PUT /vm/start/7': () => task({ completed: 'false' }),
      'GET /message/1448420536259': () => task({ completed: 'false' }),
    });
    const fault = await faultOf(client.startVm('7', AbortSignal.timeout(30)));
    expect(fault.code).toBe('DEADLINE_EXCEEDED');
  });
});

describe('refusals and lists', () => {
  it('reads the reason out of GBK headers', async () => {
    await start({ 'PUT /vm/start/7': () => refusal('11', '未知错误') });
    expect(await faultOf(client.startVm('7'))).toEqual({
      code: 'PLATFORM_REFUSED',
      message: 'the CVM refuses to start VM 7: 未知错误 (error 11)',
    });
  });

  it('a VM that is not there', async () => {
    await start({ 'GET /vm/detail/7': () => refusal('1001', '虚拟机不存在') });
    expect((await faultOf(client.vm('7'))).code).toBe('VM_NOT_FOUND');
    expect((await faultOf(client.vm('8'))).code).toBe('VM_NOT_FOUND');
  });

  it('a refusal inside a reply of status 200', async () => {
    await start({ 'POST /storage/volume/add': () => json({ errorCode: '7', message: '存储池不存在' }) });
    const volume = { hostId: '1', poolName: 'p', name: 'v', sizeMiB: 1, format: 'qcow2' } as const;
    expect((await faultOf(client.addVolume(volume))).message).toContain('存储池不存在');
  });

  const vms = (from: number, count: number) =>
    Array.from({ length: count }, (_, index) => ({
      id: String(from + index),
      name: `vm${from + index}`,
      status: '3',
    }));

  it('reads all pages of a long list', async () => {
    await start({
      'GET /vm/vmList': ({ query }) => {
        const offset = Number(query.get('offset'));
        const limit = Number(query.get('limit'));
        return json({ domain: vms(offset, Math.min(limit, 450 - offset)) });
      },
    });
    const all = await client.vms();
    expect(all).toHaveLength(450);
    expect(cvm.requests).toHaveLength(3);
  });

  it('ends when the CVM ignores the offset', async () => {
    await start({ 'GET /vm/vmList': () => json({ domain: vms(0, 300) }) });
    expect(await client.vms()).toHaveLength(300);
    expect(cvm.requests).toHaveLength(2);
  });

  it('finds a VM by its exact name among those that contain it', async () => {
    await start({
      'GET /vm/vmList': () =>
        json({
          domain: [
            { id: 1, name: 'web-1' },
            { id: 2, name: 'web' },
          ],
        }),
    });
    expect((await client.vmByName('web'))?.externalId).toBe('2');
    expect(await client.vmByName('we')).toBeNull();
  });

  it('a template is no VM, yet its name is taken', async () => {
    const template = { id: 1, name: 'golden', uuid: 'abc', status: '0' };
    await start({ 'GET /vm/vmList': () => json({ domain: template }) });
    expect(await client.vms()).toEqual([]);
    expect(await client.vmByUuid('ABC')).toBeNull();
    expect(await client.vmByName('golden')).toMatchObject({ powerState: 'template' });
  });

  it('sends a new VM as XML where XML is spoken', async () => {
    await start(
      { 'POST /vm/add': () => ({ headers: { 'content-type': 'application/xml' }, body: '' }) },
      { format: 'xml' },
    );
    await client.addVm({
      name: 'a',
      title: 'a',
      description: 'd',
      hostExternalId: '1',
      cpuCount: 2,
      memoryMiB: 512,
      disks: [{ sizeMiB: 10, format: 'qcow2', bus: 'virtio', storageName: 'p' }],
      nics: [],
      system: '1',
      osVersion: 'Linux',
      architecture: 'x86_64',
    });
    expect(cvm.requests[0]?.body).toContain('<storage><device>disk</device>');
  });
});
