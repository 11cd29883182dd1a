import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Fault, openContent } from '@casvault/contracts';
import * as examples from '../api/examples.js';
import { bearer, testGateway, type TestGateway } from '../testing/test-gateway.js';

const path = `/api/v1/points/${examples.ids.point}/disks/vda/content`;

describe('F9: a download through the gateway', () => {
  let gateway: TestGateway;
  let asked: IncomingMessage[];
  let answer: (request: IncomingMessage, response: ServerResponse) => void;
  const mover = createServer((request, response) => {
    asked.push(request);
    answer(request, response);
  });
  let url: string;
  beforeAll(async () => {
    gateway = await testGateway();
    await new Promise<void>((resolve) => mover.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(mover.address() as AddressInfo).port}/v1/content`;
  });
  afterAll(async () => {
    await gateway.stop();
    mover.closeAllConnections();
    mover.close();
  });
  beforeEach(() => {
    asked = [];
    gateway.services.on(openContent, {
      url,
      ticket: gateway.world.sealer.seal('ticket'),
      vmName: 'erp/db',
    });
  });
  const get = (headers: Record<string, string> = {}, query = '') =>
    gateway.app.inject({ method: 'GET', url: path + query, headers: { ...bearer('operator'), ...headers } });

  it('passes on bytes, ranges and identity, and names the file', async () => {
    answer = (_, response) =>
      response
        .writeHead(206, {
          etag: '"ab"',
          'content-range': 'bytes 1-3/9',
          'accept-ranges': 'bytes',
          'content-length': 3,
        })
        .end('abc');
    const response = await get({ range: 'bytes=1-3', 'if-range': '"ab"' });
    expect(response.statusCode).toBe(206);
    expect(response.body).toBe('abc');
    expect(response.headers).toMatchObject({
      etag: '"ab"',
      'content-range': 'bytes 1-3/9',
      'accept-ranges': 'bytes',
      'content-disposition': 'attachment; filename="erp_db-vda.raw"',
    });
    expect(asked[0]?.url).toBe('/v1/content?format=raw');
    expect(asked[0]?.headers).toMatchObject({
      range: 'bytes=1-3',
      'if-range': '"ab"',
      authorization: expect.stringMatching(/^Bearer sealed:v1:/) as string,
    });
  });

  it('asks for a qcow2 when told to', async () => {
    answer = (_, response) => response.end('q');
    const response = await get({}, '?format=qcow2');
    expect(response.headers['content-disposition']).toContain('vda.qcow2');
    expect(asked[0]?.url).toBe('/v1/content?format=qcow2');
  });

  it('answers with the mover’s own fault', async () => {
    const fault = new Fault('POOL_OBJECT_DAMAGED', 'pack ab is damaged');
    answer = (_, response) => response.writeHead(500).end(JSON.stringify(fault));
    expect((await get()).json()).toMatchObject({ code: 'POOL_OBJECT_DAMAGED', detail: 'pack ab is damaged' });
  });

  it('does not blame the caller for a ticket that the mover refuses', async () => {
    answer = (_, response) =>
      response.writeHead(401).end(JSON.stringify(new Fault('UNAUTHENTICATED', 'no ticket')));
    expect((await get()).statusCode).toBe(503);
  });

  it('says when the mover can not be reached', async () => {
    gateway.services.on(openContent, {
      url: 'http://127.0.0.1:1/v1/content',
      ticket: gateway.world.sealer.seal('ticket'),
      vmName: 'db',
    });
    expect((await get()).json()).toMatchObject({ code: 'DEPENDENCY_UNAVAILABLE' });
  });

  it('is for operators: an auditor sees no data', async () => {
    expect((await get(bearer('auditor'))).statusCode).toBe(403);
    expect(asked).toEqual([]);
  });
});
