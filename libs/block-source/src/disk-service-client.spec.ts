import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { newId, type Opening, type OpeningId, type OpenRequest } from '@casvault/contracts';
import { recordSpans } from '@casvault/testkit';
import { DiskServiceClient } from './disk-service-client.js';

const id = newId<OpeningId>();
const vmUuid = '08233862-411c-4f09-974f-9c3cf8e5295c';
const opening: Opening = {
  openingId: id,
  kind: 'volume',
  method: 'write',
  consistency: 'crash',
  reasons: [],
  openedAt: '2026-01-01T00:00:00.000Z',
  leaseUntil: '2026-01-01T00:01:00.000Z',
  checkpoint: null,
  disks: [],
};
const request: OpenRequest = {
  kind: 'volume',
  path: '/vms/a',
  format: 'raw',
  sizeBytes: 1,
  leaseSeconds: 60,
};

describe('the client of a disk service', () => {
  let server: Server;
  let seen: {
    method: string | undefined;
    url: string | undefined;
    headers: IncomingMessage['headers'];
    body: string;
  }[];
  let answer: RequestListener;
  let client: DiskServiceClient;

  beforeEach(async () => {
    seen = [];
    server = createServer((incoming, reply) => {
      let body = '';
      incoming.on('data', (chunk: Buffer) => (body += chunk.toString()));
      incoming.on('end', () => {
        seen.push({ method: incoming.method, url: incoming.url, headers: incoming.headers, body });
        answer(incoming, reply);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    client = new DiskServiceClient({ url: `http://127.0.0.1:${String(port)}`, token: 'a-token' });
  });
  afterEach(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const answers = (status: number, body: unknown): void => {
    answer = (_, reply) =>
      reply.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body));
  };

  test('speaks the API of the contract', async () => {
    answers(200, { ...opening, more: 'of a newer service' });
    expect(await client.open(id, request)).toEqual(opening);
    expect(await client.get(id)).toEqual(opening);
    expect(await client.renew(id, 30)).toEqual(opening);
    answers(204, '');
    await client.close(id);
    await client.close(id, { keepCheckpoint: true });
    expect(seen.map(({ method, url, body }) => [method, url, body])).toEqual([
      ['PUT', `/v1/openings/${id}`, JSON.stringify(request)],
      ['GET', `/v1/openings/${id}`, ''],
      ['POST', `/v1/openings/${id}/renewals`, '{"leaseSeconds":30}'],
      ['DELETE', `/v1/openings/${id}?keepCheckpoint=false`, ''],
      ['DELETE', `/v1/openings/${id}?keepCheckpoint=true`, ''],
    ]);
    const checkpoint = {
      name: `casvault-${id}`,
      madeBy: null,
      createdAt: '2026-01-01T00:00:00.000Z',
      targets: ['vda'],
    };
    answers(200, { items: [checkpoint] });
    expect(await client.checkpoints(vmUuid)).toEqual([checkpoint]);
    answers(204, '');
    await client.removeCheckpoint(vmUuid, checkpoint.name);
    expect(seen.slice(5).map(({ method, url }) => [method, url])).toEqual([
      ['GET', `/v1/vms/${vmUuid}/checkpoints`],
      ['DELETE', `/v1/vms/${vmUuid}/checkpoints/${checkpoint.name}`],
    ]);
    expect(seen.every(({ headers }) => headers.authorization === 'Bearer a-token')).toBe(true);
  });

  test('is a span of its caller’s trace, and carries it on', async () => {
    const recorder = recordSpans();
    answers(200, opening);
    const { traceId } = await recorder.inTrace(() => client.get(id));
    const span = recorder.span('disk-service get');
    const { spanId } = span.spanContext();
    expect(span.spanContext().traceId).toBe(traceId);
    expect(span.attributes).toMatchObject({
      'http.response.status_code': 200,
      'server.address': '127.0.0.1',
    });
    expect(seen[0]?.headers['traceparent']).toBe(`00-${traceId}-${spanId}-01`);
    answers(410, { code: 'CAPTURE_LOST', detail: 'gone', details: {} });
    await expect(client.renew(id, 30)).rejects.toMatchObject({ code: 'CAPTURE_LOST' });
    const failed = recorder.span('disk-service renew');
    expect(failed.attributes).toMatchObject({
      'http.response.status_code': 410,
      'casvault.fault': 'CAPTURE_LOST',
    });
    expect(JSON.stringify([span.attributes, failed.attributes, failed.status])).not.toContain('a-token');
  });

  test('throws the fault that the service answers with', async () => {
    answers(409, {
      code: 'CAPTURE_REFUSED',
      detail: 'paused',
      details: { vmState: 'paused' },
      title: 'Conflict',
    });
    await expect(client.open(id, request)).rejects.toMatchObject({
      code: 'CAPTURE_REFUSED',
      message: 'paused',
      details: { vmState: 'paused' },
    });
    answers(401, 'whatever');
    const refused = client.open(id, request);
    await expect(refused).rejects.toMatchObject({ code: 'DISK_SERVICE_UNAUTHORISED' });
    await expect(refused).rejects.not.toThrow(/a-token/);
  });

  test.each<[string, number, unknown]>([
    ['a page of a proxy', 502, '<html>'],
    ['a problem of another service', 409, { code: 'NOT_A_CODE', detail: 'x' }],
    ['what is no opening', 200, { hello: 1 }],
    ['nothing', 200, ''],
    ['a reply without end', 200, 'x'.repeat(1 << 21)],
  ])('does not take %s for an answer', async (_, status, body) => {
    answers(status, body);
    await expect(client.get(id)).rejects.toMatchObject({ code: 'DISK_SERVICE_UNREACHABLE' });
  });

  test('names host and port of a service that is not there', async () => {
    const { port } = server.address() as AddressInfo;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await expect(client.health()).rejects.toMatchObject({
      code: 'DISK_SERVICE_UNREACHABLE',
      details: { host: '127.0.0.1', port },
      message: `the disk service 127.0.0.1:${String(port)} can't be reached: ECONNREFUSED`,
    });
    server = createServer().listen(0);
  });

  test('stops when it is told to, and when the answer breaks off', async () => {
    answer = () => undefined;
    await expect(client.get(id, { signal: AbortSignal.timeout(50) })).rejects.toMatchObject({
      code: 'STOPPED',
    });
    answer = (_, reply) => {
      reply.writeHead(200, { 'content-length': '100' }).write('{');
      setTimeout(() => reply.destroy(), 20);
    };
    await expect(client.get(id)).rejects.toMatchObject({ code: 'DISK_SERVICE_UNREACHABLE' });
  });

  test.each(['', 'host:8192', 'ftp://host'])('refuses the URL %p', (url) => {
    expect(() => new DiskServiceClient({ url, token: 't' })).toThrow(/http/);
  });
});
