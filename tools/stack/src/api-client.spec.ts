import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo } from 'node:net';
import { runIdSchema } from '@casvault/contracts';
import { ApiClient, ApiProblem } from './api-client.js';

const runId = runIdSchema.parse('0195580e-7a10-7000-8000-000000000041');
const run = (doneBytes: number, state: string) => ({
  id: runId,
  jobId: '0195580e-7a10-7000-8000-000000000040',
  jobName: 'nightly',
  kind: 'backup',
  state,
  createdAt: '2026-03-02T21:00:00Z',
  startedAt: null,
  finishedAt: null,
  doneBytes,
  storedBytes: 0,
  itemCount: 0,
  items: [],
});
const runEvent = (doneBytes: number, state = 'running') =>
  `event: run\ndata: ${JSON.stringify(run(doneBytes, state))}\n\n`;

describe('the API client', () => {
  let server: Server;
  let client: ApiClient;
  let answer: (request: IncomingMessage, response: ServerResponse) => void;

  beforeEach(async () => {
    server = createServer((request, response) => answer(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    client = new ApiClient(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  });
  afterEach(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  it('reads all pages of a list', async () => {
    const first = '/api/v1/runs?limit=500';
    const urls: (string | undefined)[] = [];
    answer = ({ url }, response) => {
      urls.push(url);
      response.end(
        JSON.stringify({ items: [run(urls.length, 'failed')], nextCursor: urls.length < 3 ? 'n' : null }),
      );
    };
    expect((await client.listRuns()).map(({ doneBytes }) => doneBytes)).toEqual([1, 2, 3]);
    expect(urls).toEqual([first, `${first}&cursor=n`, `${first}&cursor=n`]);
  });

  it('throws problems with title, code, detail and fields', async () => {
    answer = (_request, response) => {
      response.writeHead(400, { 'content-type': 'application/problem+json' });
      response.end(
        JSON.stringify({
          type: 'urn:casvault:problem:INPUT_INVALID',
          title: 'The request breaks a rule',
          status: 400,
          detail: 'name: is required',
          instance: '/api/v1/jobs',
          code: 'INPUT_INVALID',
          details: {},
          errors: [{ field: 'name', rule: 'is required' }],
          traceId: 'abc',
        }),
      );
    };
    const failed = client.getRun(runId);
    await expect(failed).rejects.toThrow(
      'The request breaks a rule (INPUT_INVALID): name: is required\n  name: is required [trace abc]',
    );
    await expect(failed).rejects.toBeInstanceOf(ApiProblem);
  });

  it('follows a run through a lost connection, in whatever pieces its events come', async () => {
    let connections = 0;
    answer = (_request, response) => {
      connections += 1;
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      if (connections === 1) {
        response.write(`retry: 2000\n\n${runEvent(1)}: heartbeat\n\n`, () => response.destroy());
        return;
      }
      const text = `${runEvent(2)}${runEvent(3, 'succeeded')}event: end\ndata: {"state":"succeeded"}\n\n`;
      for (const piece of text.match(/[^]{1,7}/g) ?? []) response.write(piece);
      response.end();
    };
    const seen: number[] = [];
    const last = await client.watchRun(runId, ({ doneBytes }) => seen.push(doneBytes));
    expect(seen.slice(-2)).toEqual([2, 3]);
    expect(last).toMatchObject({ doneBytes: 3, state: 'succeeded' });
    expect(connections).toBe(2);
  });
});
