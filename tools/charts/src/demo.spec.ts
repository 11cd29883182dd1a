import { execFile } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Helm } from './helm.js';
import { clusterOf, demoPlan, shellLine, type Means } from './demo-plan.js';
import { passwordIn, smokeCheck } from './smoke.js';

const run = promisify(execFile);
const cli = new URL('./cli.js', import.meta.url).pathname;

describe('the plan of make demo-k8s', () => {
  const means: Means = {
    context: 'kind-lab',
    isReachable: true,
    programs: ['kubectl', 'docker', 'kind'],
  };
  const lines = (given: Means) =>
    demoPlan(given, 'helm', '0.1.0').steps.map(({ command }) => shellLine(command));

  it('builds, loads, installs and waits, in kind', () => {
    expect(demoPlan(means, 'helm', '0.1.0').lacks).toEqual([]);
    expect(lines(means)).toEqual([
      'docker build --file docker/Dockerfile --tag docker.io/library/casvault:0.1.0 .',
      'kind load docker-image docker.io/library/casvault:0.1.0 --name lab',
      "docker exec lab-control-plane sh -c 'mkdir -p /var/lib/casvault-trial-pool && chown 10001:10001 /var/lib/casvault-trial-pool'",
      'helm upgrade --install casvault helm/casvault --kube-context kind-lab --namespace casvault-demo --create-namespace --values helm/casvault/values-trial.yaml --set image.repository=docker.io/library/casvault',
      'kubectl --context kind-lab --namespace casvault-demo wait --for=condition=Available deployment --all --timeout=600s',
    ]);
  });

  it('imports into k3s, from podman too', () => {
    const k3s = { ...means, context: 'default', programs: ['kubectl', 'podman', 'k3s'] };
    expect(demoPlan(k3s, 'helm', '0.1.0').lacks).toEqual([]);
    expect(lines(k3s)[1]).toBe(
      "sh -c 'podman save docker.io/library/casvault:0.1.0 | k3s ctr images import -'",
    );
    expect(clusterOf('default', ['kubectl'])).toBeNull();
  });

  it.each<[Partial<Means>, string]>([
    [{ programs: [] }, 'there is no kubectl'],
    [{ context: null }, 'kubectl has no context'],
    [{ isReachable: false }, 'does not answer'],
    [{ context: 'production' }, 'neither of kind nor of k3s'],
    [{ programs: ['kubectl', 'kind'] }, 'there is no image engine'],
    [{ programs: ['kubectl', 'kind', 'podman'] }, 'kind loads images from docker'],
    [{ programs: ['kubectl', 'docker'] }, 'there is no kind'],
  ])('runs nothing with %j', (less, lack) => {
    expect(demoPlan({ ...means, ...less }, 'helm', '0.1.0').lacks.join()).toContain(lack);
  });
});

/** The API of a release, as far as the smoke check looks: `broken` is answered with 503. */
const servedApi = async (broken = ''): Promise<Server> => {
  const bodies: Record<string, [number, unknown]> = {
    '/healthz': [200, { status: 'ok' }],
    '/sessions': [201, { token: 'secret-token' }],
    '/platforms': [200, { items: [] }],
    '/jobs': [200, { items: [] }],
    '/points': [200, { items: [] }],
    '/backup-hosts': [200, { items: [{ state: broken === 'movers' ? 'offline' : 'online' }] }],
  };
  const server = createServer((request, response) => {
    const path = (request.url ?? '').replace('/api/v1', '');
    const isPublic = path === '/healthz' || path === '/sessions';
    const isKnown = isPublic || request.headers.authorization === 'Bearer secret-token';
    const [status, body] = path === broken ? [503, {}] : isKnown ? (bodies[path] ?? [404, {}]) : [401, {}];
    request.resume().on('end', () => response.writeHead(status).end(JSON.stringify(body)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
};
const portOf = (server: Server): number => (server.address() as AddressInfo).port;

describe('the smoke check', () => {
  const check = async (broken: string): Promise<string[]> => {
    const server = await servedApi(broken);
    const told: string[] = [];
    try {
      await smokeCheck(`http://127.0.0.1:${portOf(server)}`, 'pw', (line) => told.push(line), 0);
    } finally {
      server.close();
    }
    return told;
  };

  it('tells what works', async () => {
    expect(await check('')).toEqual([
      'the gateway serves',
      'admin has signed in',
      'GET /platforms is answered',
      'GET /jobs is answered',
      'GET /points is answered',
      'a mover is online',
    ]);
  });

  it.each([
    ['/healthz', '/healthz: 503'],
    ['/sessions', '/sessions: 503, want 201'],
    ['/jobs', '/jobs: 503'],
    ['movers', 'no mover is online'],
  ])('fails without %s', async (broken, message) => {
    await expect(check(broken)).rejects.toThrow(message);
  });

  it('finds the first password as licensing-auth tells it', () => {
    expect(passwordIn('{"level":30}\n\nFirst administrator: admin   password: a-B_9\n\n{}')).toBe('a-B_9');
    expect(passwordIn('{"level":30}')).toBeNull();
  });
});

/** Programs that write down how they were called; what `answers` has for a program is run besides. */
const playedPrograms = async (answers: Readonly<Record<string, string>>): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'demo-k8s-'));
  for (const program of ['kubectl', 'docker', 'kind', 'helm']) {
    const file = join(folder, program);
    const record = `echo "${program} $*" >> "${folder}/calls"`;
    await writeFile(file, `#!/bin/sh\n${record}\n${answers[program] ?? ''}\n`);
    await chmod(file, 0o755);
  }
  return folder;
};

describe('make demo-k8s', () => {
  beforeAll(() => Helm.find());

  const runDemo = async (folder: string, env: Record<string, string> = {}): Promise<string> => {
    const PATH = `${folder}:${process.env['PATH']}`;
    return (
      await run(process.execPath, ['--no-warnings', cli, 'demo'], { env: { PATH, HOME: folder, ...env } })
    ).stdout;
  };

  it('dry: validates what the real helm renders and tells every command in order', async () => {
    const folder = await playedPrograms({ kubectl: 'exit 1' });
    try {
      for (const isDry of [true, false]) {
        const told = await runDemo(folder, isDry ? { DRY_RUN: '1' } : {});
        expect(told).toMatch(/values-trial\.yaml: \d\d objects, all as Kubernetes and the policy want them/);
        expect(told).toContain(isDry ? 'Dry run: nothing is changed.' : 'Dry run: kubectl has no context.');
        const order = [
          'docker build',
          'kind load',
          'docker exec',
          'upgrade --install',
          'wait --for',
          'logs --tail',
          'port-forward',
        ];
        const places = order.map((command) => told.indexOf(command));
        expect(places).toEqual([...places].sort((left, right) => left - right));
        expect(places[0]).toBeGreaterThan(0);
      }
      const calls = await readFile(join(folder, 'calls'), 'utf8');
      expect(calls).not.toMatch(/docker build|kind load|helm upgrade/);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('runs them where there is a cluster, with played programs, and looks at the API', async () => {
    const server = await servedApi();
    const folder = await playedPrograms({
      kubectl: `case "$*" in
  *current-context*) echo kind-lab ;;
  *logs*) echo "First administrator: admin   password: pw" ;;
  *port-forward*) echo "Forwarding from 127.0.0.1:${portOf(server)} -> 8088"; exec sleep 60 ;;
esac`,
    });
    try {
      const told = await runDemo(folder);
      expect(told).toContain('a mover is online');
      const calls = (await readFile(join(folder, 'calls'), 'utf8')).split('\n');
      const done = calls.filter((call) => /^(docker|kind) |^helm upgrade|wait --for|port-forward/.test(call));
      expect(done.map((call) => call.split(' ').slice(0, 2).join(' '))).toEqual([
        'docker build',
        'kind load',
        'docker exec',
        'helm upgrade',
        'kubectl --context',
        'kubectl --context',
      ]);
    } finally {
      server.close();
      await rm(folder, { recursive: true });
    }
  });

  it('stops at the first step that fails', async () => {
    const folder = await playedPrograms({
      kubectl: 'case "$*" in *current-context*) echo kind-lab ;; esac',
      kind: 'exit 3',
    });
    try {
      await expect(runDemo(folder)).rejects.toThrow(/kind load .*exit 3/);
      expect(await readFile(join(folder, 'calls'), 'utf8')).not.toMatch(/docker exec/);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
