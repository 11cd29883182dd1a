import { chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  hookChanged,
  hookOutputLimits,
  newId,
  preconditionSchema,
  runHook,
  type HookChanged,
  type HookKind,
  type HookResult,
  type RunId,
  type TransferId,
} from '@casvault/contracts';
import { WorkQueue } from '@casvault/messaging';
import { ScriptedService } from '@casvault/messaging/testing';
import { systemClock } from '@casvault/service-host';
import {
  spawnService,
  tempDir,
  TestLogger,
  until,
  type RunningProcess,
  type TempDir,
} from '@casvault/testkit';
import { type z } from 'zod';
import { checkHttp } from '../src/worker/hook-http.js';
import { runCommand } from '../src/worker/hook-process.js';
import { resolveScript } from '../src/worker/hook-script.js';
import { RunningController } from './running-controller.js';

const main = fileURLToPath(new URL('../src/main.js', import.meta.url));
const patienceMs = 60_000;
/** One that was killed and waits for its parent to notice is not alive. */
const isAlive = async (pid: number): Promise<boolean> => {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  return stat !== null && !/\) [ZX] /.test(stat);
};
const areGone = (pids: readonly number[]) =>
  until(async () => {
    for (const pid of pids) if (await isAlive(pid)) return false;
    return true;
  }, patienceMs);

type Command = z.input<typeof runHook.payload> & { readonly transferId: TransferId };

/** A folder with scripts, and files that they write. */
class Scripts {
  private constructor(readonly dir: TempDir) {}
  static async make(): Promise<Scripts> {
    const scripts = new Scripts(await tempDir('scripts'));
    await mkdir(scripts.folder);
    return scripts;
  }
  get folder(): string {
    return join(this.dir.path, 'allowed');
  }
  file(name: string): string {
    return join(this.dir.path, name);
  }
  async write(name: string, text: string, mode = 0o755): Promise<string> {
    const path = join(this.folder, name);
    await writeFile(path, `#!/bin/sh\n${text}\n`);
    await chmod(path, mode);
    return path;
  }
  async lines(name: string): Promise<string[]> {
    const text = await readFile(this.file(name), 'utf8').catch(() => '');
    return text.split('\n').filter(Boolean);
  }
}

describe('a script as a process', () => {
  let scripts: Scripts;
  beforeAll(async () => {
    scripts = await Scripts.make();
  });
  afterAll(() => scripts.dir.remove());

  const run = (file: string, args: readonly string[] = [], timeoutMs = patienceMs, signal?: AbortSignal) =>
    runCommand(
      { file, args, env: { FACT: 'a b' }, cwd: '/', timeoutMs },
      { clock: systemClock, signal: signal ?? new AbortController().signal },
    );

  it('is given its arguments as they are, whatever a shell would make of them, and no other environment', async () => {
    const shown = `for one in "$@"; do printf '<%s>\\n' "$one"; done; tr '\\0' '\\n' </proc/$$/environ`;
    const file = await scripts.write('show', shown);
    const args = ['$(touch owned)', '; rm -rf /', '`id`', `a'b"c\\`, '', '--x=*', '& exit 3', '虚拟机'];
    const { exitCode, output } = await run(file, args);
    expect(exitCode).toBe(0);
    expect(output.told().output).toEqual([...args.map((arg) => `<${arg}>`), 'FACT=a b']);
  });

  it('that takes too long is ended with all of its group, also what ignores SIGTERM', async () => {
    const pids = scripts.file('pids');
    const file = await scripts.write(
      'long',
      `sh -c 'trap "" TERM; while :; do sleep 1; done' & echo $! >>${pids}; sleep 1000 & echo $! >>${pids}; trap 'exit 0' TERM; echo waiting; wait`,
    );
    const { by, output } = await run(file, [], 1_000);
    expect(by).toBe('time');
    expect(output.told().output).toEqual(['waiting']);
    const left = (await scripts.lines('pids')).map(Number);
    expect(left).toHaveLength(2);
    await areGone(left);
  });

  it('that ends leaves nobody of its group behind, and is not waited for by who holds its output', async () => {
    const file = await scripts.write('leave', `sleep 1000 & echo $! >${scripts.file('left')}; echo done`);
    const { by, exitCode } = await run(file);
    expect([by, exitCode]).toEqual(['itself', 0]);
    await areGone((await scripts.lines('left')).map(Number));
  });

  it('is ended when it is not wanted any more', async () => {
    const file = await scripts.write('endless', `echo $$ >${scripts.file('endless')}; exec sleep 1000`);
    const stopping = new AbortController();
    const running = run(file, [], patienceMs, stopping.signal);
    await until(async () => (await scripts.lines('endless')).length > 0, patienceMs);
    stopping.abort();
    expect(await running).toMatchObject({ by: 'abort', exitCode: null, signal: 'SIGTERM' });
  });

  it('that writes much is told in its last lines', async () => {
    const file = await scripts.write('loud', 'yes casvault | head -n 600000; echo last');
    const { output, droppedBytes } = (await run(file)).output.told();
    expect(output).toHaveLength(hookOutputLimits.lines);
    expect(output.at(-1)).toBe('last');
    expect(droppedBytes).toBeGreaterThan(4_900_000);
  });

  it('that cannot be started says so', async () => {
    const file = await scripts.write('foreign', '');
    await writeFile(file, '#!/nowhere/interpreter\n');
    await expect(run(file)).rejects.toMatchObject({ code: 'HOOK_REFUSED' });
  });
});

describe('the folder of scripts', () => {
  let scripts: Scripts;
  beforeAll(async () => {
    scripts = await Scripts.make();
  });
  afterAll(() => scripts.dir.remove());

  it('gives what is in it, also by a link within it', async () => {
    const path = await scripts.write('check.sh', 'exit 0');
    expect(await resolveScript(scripts.folder, 'check.sh')).toBe(path);
    await symlink('check.sh', join(scripts.folder, 'alias'));
    expect(await resolveScript(scripts.folder, 'alias')).toBe(path);
  });

  it('gives nothing else, and says why', async () => {
    const outside = scripts.file('outside');
    await writeFile(outside, '#!/bin/sh\n', { mode: 0o755 });
    await symlink(outside, join(scripts.folder, 'out'));
    await symlink('/nowhere', join(scripts.folder, 'dangling'));
    await mkdir(join(scripts.folder, 'folder'));
    await mkdir(`${scripts.folder}-not`);
    await writeFile(`${scripts.folder}-not/near`, '#!/bin/sh\n', { mode: 0o755 });
    await symlink(`${scripts.folder}-not/near`, join(scripts.folder, 'near'));
    await scripts.write('open', 'exit 0', 0o757);
    await scripts.write('plain', 'exit 0', 0o644);
    const refusals: readonly (readonly [string | null, string, RegExp])[] = [
      [null, 'check.sh', /no folder of scripts/],
      [scripts.file('none'), 'check.sh', /folder of scripts is not there/],
      [scripts.folder, 'nothing', /'nothing' is not run: it is not in the folder/],
      [scripts.folder, 'dangling', /not in the folder/],
      [scripts.folder, 'out', /link out of the folder/],
      [scripts.folder, 'near', /link out of the folder/],
      [scripts.folder, '../outside', /link out of the folder/],
      [scripts.folder, 'folder', /no regular file/],
      [scripts.folder, 'open', /anybody may write/],
      [scripts.folder, 'plain', /not executable/],
    ];
    for (const [folder, script, message] of refusals)
      await expect(resolveScript(folder, script)).rejects.toMatchObject({
        code: 'HOOK_REFUSED',
        message: expect.stringMatching(message) as string,
      });
  });
});

describe('a check over HTTP', () => {
  let server: Server;
  const asked: string[] = [];
  beforeAll(async () => {
    server = createServer(({ method, url = '' }, response) => {
      asked.push(`${method} ${url}`);
      if (url === '/slow') return;
      const status = Number(/\d+/.exec(url)?.[0] ?? 200);
      response.writeHead(status, status === 302 ? { location: '/200' } : {}).end('x'.repeat(100_000));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  const at = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const check = (
    url: string,
    more: object = {},
    signal = new AbortController().signal,
  ): Promise<HookResult> => {
    const parsed = preconditionSchema.parse({ type: 'http', url, ...more });
    if (parsed.type !== 'http') throw new TypeError('no check over HTTP');
    return checkHttp(parsed, signal);
  };

  it('holds by the status alone, of the method that was asked for', async () => {
    expect(await check(`${at()}/204`)).toMatchObject({ fault: null, httpStatus: 204 });
    expect(await check(`${at()}/503`, { method: 'HEAD', expectStatus: [503] })).toMatchObject({
      fault: null,
    });
    expect(asked).toEqual(['GET /204', 'HEAD /503']);
    const { fault } = await check(`${at()}/503?token=secret`);
    expect(fault).toMatchObject({ code: 'HOOK_FAILED', details: { status: 503 } });
    expect(fault?.message).toMatch(
      /^GET http:\/\/127\.0\.0\.1:\d+\/503 answered 503, expected was 200 to 299$/,
    );
  });

  it('follows no redirection', async () => {
    asked.length = 0;
    expect(await check(`${at()}/302`)).toMatchObject({ fault: { code: 'HOOK_FAILED' }, httpStatus: 302 });
    expect(await check(`${at()}/302`, { expectStatus: [302] })).toMatchObject({ fault: null });
    expect(asked).toEqual(['GET /302', 'GET /302']);
  });

  it('does not hold when nobody answers, or not in time; and is given up when it is not wanted any more', async () => {
    expect((await check('http://127.0.0.1:1/x')).fault).toMatchObject({
      code: 'HOOK_FAILED',
      message: 'GET http://127.0.0.1:1/x cannot be asked: ECONNREFUSED',
    });
    expect((await check(`${at()}/slow`, { timeoutSeconds: 1 })).fault).toMatchObject({
      code: 'DEADLINE_EXCEEDED',
    });
    const stopping = new AbortController();
    const waiting = check(`${at()}/slow`, {}, stopping.signal);
    stopping.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'STOPPED' });
  });
});

describe('hooks of runs, from the controller to a mover', () => {
  let controller: RunningController;
  let scheduler: ScriptedService;
  let scripts: Scripts;
  const workers: RunningProcess[] = [];
  const changes: HookChanged[] = [];
  beforeAll(async () => {
    controller = await RunningController.start({ listen: false });
    scripts = await Scripts.make();
    scheduler = await ScriptedService.start(
      { url: controller.nats.url, service: 'scheduler', logger: new TestLogger() },
      ({ event }) => event(hookChanged, (change) => void changes.push(change)),
    );
    await worker('mover-1');
  });
  afterAll(async () => {
    for (const one of workers) await one.kill9();
    await scheduler.stop();
    await controller.stop();
    await scripts.dir.remove();
  });

  const worker = async (name: string): Promise<void> => {
    const { CASVAULT_NATS_URL = '', CASVAULT_SEALING_KEY = '' } = controller.env;
    const env = {
      CASVAULT_NATS_URL,
      CASVAULT_SEALING_KEY,
      CASVAULT_DATA_MOVER_ROLE: 'worker',
      CASVAULT_DATA_MOVER_NAME: name,
      CASVAULT_DATA_MOVER_SCRIPTS: scripts.folder,
      CASVAULT_DRAIN_SECONDS: '10',
    };
    const started = spawnService(main, { env });
    workers.push(started);
    await started.sees(/service started/);
  };
  const commandOf = (hook: HookKind, script: string): Command => {
    const action = { type: 'command' as const, script, arguments: [scripts.file(script)] };
    const runId = newId<RunId>();
    const spec = {
      kind: 'hook' as const,
      hook,
      runId,
      action,
      facts: { CASVAULT_RUN_ID: runId },
      waitMinutes: 5,
    };
    return { transferId: newId<TransferId>(), group: 'default', spec };
  };
  const send = (command: z.input<typeof runHook.payload>) =>
    scheduler.client.send(runHook, command, { messageId: newId() });
  const begin = async (hook: HookKind, script: string): Promise<TransferId> => {
    const command = commandOf(hook, script);
    await send(command);
    return command.transferId;
  };
  const reaches = (transferId: TransferId, state: HookChanged['state']): Promise<HookChanged> =>
    until(
      () => changes.find((change) => change.transferId === transferId && change.state === state),
      patienceMs,
    );
  const hasRun = (script: string) => until(async () => (await scripts.lines(script)).length > 0, patienceMs);

  it('run in the folder of scripts alone, with the facts of the run and none of the mover’s secrets', async () => {
    await scripts.write('facts', 'env | sort');
    const { result } = await reaches(await begin('pre', 'facts'), 'succeeded');
    expect(result).toMatchObject({ fault: null, exitCode: 0, droppedBytes: 0 });
    const names = result?.output.map((line) => line.split('=')[0]);
    const known = ['CASVAULT_ATTEMPT', 'CASVAULT_BACKUP_HOST', 'CASVAULT_RUN_ID', 'LC_ALL', 'PATH', 'PWD'];
    expect(names?.filter((name) => name !== '_' && name !== 'SHLVL' && name !== 'OLDPWD')).toEqual(known);
    expect(result?.output.join()).not.toContain(controller.env['CASVAULT_SEALING_KEY']);
    const { fault } = await reaches(await begin('pre', 'passwd'), 'failed');
    expect(fault).toMatchObject({ code: 'HOOK_REFUSED', details: { script: 'passwd' } });
  });

  it('say how they ended, and do not begin when they are not wanted any more', async () => {
    await scripts.write('three', 'echo no; exit 3');
    const asked = commandOf('precondition', 'three');
    await send(asked);
    const { result, ...told } = await reaches(asked.transferId, 'succeeded');
    expect(told).toMatchObject({ runId: asked.spec.runId, hook: 'precondition', fault: null });
    expect(result).toMatchObject({ fault: { code: 'HOOK_FAILED' }, exitCode: 3, output: ['no'] });
    await scripts.write('stopped', 'echo begun >>$1; sleep 1000');
    const stopping = commandOf('pre', 'stopped');
    await send(stopping);
    await hasRun('stopped');
    await send({ ...stopping, stopAsked: true });
    await reaches(stopping.transferId, 'stopped');
    const overtaken = commandOf('pre', 'stopped');
    await send({ ...overtaken, stopAsked: true });
    await send(overtaken);
    await reaches(overtaken.transferId, 'stopped');
    expect(await scripts.lines('stopped')).toEqual(['begun']);
  });

  it('of a mover that is killed are not run again: nobody knows how far they came', async () => {
    await scripts.write('once', 'echo $$ >>$1; exec sleep 1000');
    const transferId = await begin('pre', 'once');
    await hasRun('once');
    await workers.at(-1)!.kill9();
    await worker('mover-1');
    // As the queue does after its 30 s.
    await new WorkQueue(scheduler.client).publishNudge('default', transferId, newId(), 'hooks');
    const { fault } = await reaches(transferId, 'failed');
    expect(fault?.code).toBe('DEPENDENCY_UNAVAILABLE');
    const pids = (await scripts.lines('once')).map(Number);
    expect(pids).toHaveLength(1);
    // Its mover could not end it any more.
    process.kill(pids[0]!, 'SIGKILL');
  });

  it('of a mover that ends are ended: a script has failed, a precondition is asked elsewhere', async () => {
    await scripts.write('ending', 'echo begun >>$1; sleep 1000');
    await scripts.write('asking', 'echo begun >>$1; test $(wc -l <$1) -gt 1 || sleep 1000');
    const script = await begin('post', 'ending');
    const question = await begin('precondition', 'asking');
    await hasRun('ending');
    await hasRun('asking');
    await workers.at(-1)!.stop();
    const { result } = await reaches(script, 'succeeded');
    expect(result?.fault).toMatchObject({ code: 'HOOK_FAILED' });
    await worker('mover-2');
    await reaches(question, 'succeeded');
    expect(await scripts.lines('asking')).toEqual(['begun', 'begun']);
    expect(await scripts.lines('ending')).toEqual(['begun']);
  });
});
