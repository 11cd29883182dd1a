import { execFile } from 'node:child_process';
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { newId, type LicenceId, type RunDetail } from '@casvault/contracts';
import { issueLicence, newLicenceKey, type LicenceKey } from '@casvault/licence';
import { ApiProblem, labBackup } from '@casvault/stack';
import { freePort, tempDir, until, type TempDir } from '@casvault/testkit';
import { expectNothingLeft, expectSucceeded, MiB, startWorld, type World } from './world.js';

const run = promisify(execFile);

/** Each cause of failure has its own message (C1, C2, F, E): the ones an operator meets first. */
describe('refused or failed, and why', () => {
  let world: World;
  let scripts: TempDir;
  let issuer: LicenceKey;
  /** Waits for its disk service for a minute, while everything else is tried. */
  let cutOffRun: RunDetail['id'];

  const backUpCutOff = async (): Promise<RunDetail['id']> => {
    const pool = await world.trial.standardPool('refused');
    const vm = await world.trial.vm(world.platform, 'cut-off');
    await world.trial.lab.admin.diskService(2, 'killed');
    const options = { transport: { connectMinutes: 1 } };
    return world.trial.startJob(
      { ...labBackup, vmIds: [vm.id], poolId: pool.id, options },
      'without disk service',
    );
  };

  beforeAll(async () => {
    scripts = await tempDir('e2e-scripts');
    issuer = await newLicenceKey();
    world = await startWorld('refused', {
      env: {
        'mover-1': { CASVAULT_DATA_MOVER_SCRIPTS: scripts.path, CASVAULT_DATA_MOVER_TRANSFERS: '4' },
        'licensing-auth': { CASVAULT_LICENCE_KEYS: issuer.publicKey },
      },
      vms: [
        // Seeded: what a full pool is tried with must not compress to less than the pool takes.
        {
          name: 'small',
          host: 1,
          guest: 'idle',
          disks: [{ sizeBytes: 256 * MiB, dataBytes: 64 * MiB, seed: 7 }],
        },
        { name: 'cut-off', host: 2, guest: 'idle', disks: [{ sizeBytes: 64 * MiB, dataBytes: 8 * MiB }] },
      ],
    });
    cutOffRun = await backUpCutOff();
  });
  afterAll(async () => {
    await world[Symbol.asyncDispose]();
    await scripts.remove();
  });

  const registration = (change: object = {}) => {
    const { cvm, diskService } = world.trial.lab;
    return {
      name: `another ${Date.now()}`,
      address: cvm.address,
      port: cvm.port,
      userName: cvm.user,
      password: cvm.password,
      diskService: { port: diskService?.port ?? 8192, token: diskService?.token ?? '' },
      ...change,
    };
  };
  const problemOf = async (work: Promise<unknown>): Promise<ApiProblem> => {
    const error = await work.then(
      () => null,
      (reason: unknown) => reason,
    );
    if (!(error instanceof ApiProblem)) throw new Error(`expected a problem, got ${String(error)}`);
    return error;
  };

  it('C1: a wrong password', async () => {
    const secret = 'not-the-Password-7';
    const { problem } = await problemOf(world.trial.api.registerPlatform(registration({ password: secret })));
    expect(problem).toMatchObject({ code: 'PLATFORM_LOGIN_REFUSED', status: 422 });
    expect(problem.detail).toMatch(/user name or the password/);
    expect(JSON.stringify(problem)).not.toContain(secret);
  });

  it('C1: an unreachable CVM', async () => {
    const { problem } = await problemOf(
      world.trial.api.registerPlatform(registration({ port: await freePort(world.trial.lab.cvm.address) })),
    );
    expect(problem.code).toBe('PLATFORM_UNREACHABLE');
    expect(problem.detail).toContain(world.trial.lab.cvm.address);
  });

  it('C2: an unsupported version', async () => {
    await world.trial.lab.admin.configure({ release: 'E0306' });
    try {
      const { problem } = await problemOf(world.trial.api.registerPlatform(registration()));
      expect(problem.code).toBe('PLATFORM_VERSION_UNSUPPORTED');
      expect(problem.detail).toContain('E0306');
      expect(problem.detail).toContain('E0780');
    } finally {
      await world.trial.lab.admin.configure({ release: 'E0780' });
    }
  });

  /** What a webhook of ours is sent. */
  const webhook = async () => {
    const told: { event: string; alert: { runId: string } | null }[] = [];
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        told.push(JSON.parse(Buffer.concat(chunks).toString()) as (typeof told)[0]);
        response.writeHead(204).end();
      });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    return { told, url: `http://127.0.0.1:${port}/hooks/1`, [Symbol.dispose]: () => void server.close() };
  };

  it('E1, H3, D9: a full pool fails the run with that reason, tells it, and leaves nothing on the host', async () => {
    using hook = await webhook();
    const { api } = world.trial;
    const settings = { type: 'webhook' as const, url: hook.url };
    const channel = await api.createAlertChannel({ name: 'on call', settings });
    expect(await api.testAlertChannel(channel)).toEqual({ delivered: true, error: null });
    const path = join(world.stack.dir, 'full-pool');
    await mkdir(path);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', path]);
    try {
      const pool = await world.trial.api.createPool({ name: 'full', type: 'standard', path });
      const vm = await world.trial.vm(world.platform, 'small');
      const ended = await world.trial.backUp(vm, pool.id);
      expect(ended.state).toBe('failed');
      expect(ended.items[0]?.fault).toMatchObject({ code: 'POOL_FULL' });
      expect(ended.items[0]?.fault?.message).toMatch(/full|no space/i);
      await until(() => hook.told.some(({ alert }) => alert?.runId === ended.id));
      const ours = hook.told.filter(({ alert }) => alert === null || alert.runId === ended.id);
      expect(ours.map(({ event }) => event)).toEqual(['test', 'alert-raised']);
      const alerts = await until(async () => {
        const listed = await api.listAlerts({ runId: ended.id });
        return listed.every(({ deliveries }) => deliveries[0]?.state === 'delivered') ? listed : null;
      });
      expect(alerts).toMatchObject([
        { kind: 'run-failed', vmNames: ['small'], fault: { code: 'POOL_FULL' } },
      ]);
      const lines = await api.runLog(ended.id);
      expect(lines.find(({ code }) => code === 'VM_FAILED')?.text.en).toMatch(/^failed: POOL_FULL: /);
      expect([lines[0]?.code, lines.at(-1)?.code]).toEqual(['RUN_BEGAN', 'RUN_FAILED']);
      await expectNothingLeft(world);
    } finally {
      await run('umount', ['-l', path]);
      await rm(path, { recursive: true, force: true });
    }
  });

  it('reserve: a VM whose data store has less free than the job asks for is not captured, and the run says which', async () => {
    const pool = await world.trial.standardPool('refused');
    const vm = await world.trial.vm(world.platform, 'small');
    const definition = { ...labBackup, vmIds: [vm.id], poolId: pool.id };
    const reserve = { freePercent: 100, freeGiB: null };
    const ended = await world.trial.runJob({ ...definition, reserve }, 'no room', () => undefined);
    expect(ended.state).toBe('failed');
    expect(ended.items[0]).toMatchObject({
      reasons: ['RESERVE_TOO_SMALL'],
      pointId: null,
      fault: {
        code: 'CAPTURE_REFUSED',
        details: { storageName: vm.disks[0]?.storageName, freePercent: 100 },
      },
    });
    await expectNothingLeft(world);
  });

  it('D10: a run begins when its precondition holds and its pre script succeeds, and its post script is told how it ended', async () => {
    const pool = await world.trial.standardPool('refused');
    const vm = await world.trial.vm(world.platform, 'small');
    const [told, open] = [join(scripts.path, 'told'), join(scripts.path, 'open')];
    const write = (name: string, text: string) =>
      writeFile(join(scripts.path, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    await write('ready', 'test -e "$1"');
    await write('tell', `echo "$CASVAULT_HOOK $CASVAULT_RUN_STATE" >>${told}; echo "$1"; exit $2`);
    const back = (exitCode: number) => {
      const tell = { script: 'tell', arguments: [vm.name, String(exitCode)] };
      const hooks = {
        precondition: { type: 'command', script: 'ready', arguments: [open] },
        scripts: { pre: tell, post: { ...tell, arguments: [vm.name, '0'] } },
      };
      const definition = { ...labBackup, vmIds: [vm.id], poolId: pool.id, ...hooks };
      return world.trial.runJob(definition, 'with scripts', () => undefined);
    };
    expect(await back(0)).toMatchObject({ state: 'given up', reasons: ['PRECONDITION_NOT_MET'] });
    await writeFile(open, '');
    const failed = await back(3);
    expect(failed).toMatchObject({
      state: 'failed',
      fault: { code: 'HOOK_FAILED', details: { exitCode: 3 } },
    });
    expect(failed.items.map(({ pointId }) => pointId)).toEqual([null]);
    const run = expectSucceeded(await back(0));
    expect(run.hooks.map(({ hook, state }) => [hook, state])).toEqual([
      ['precondition', 'succeeded'],
      ['pre', 'succeeded'],
      ['post', 'succeeded'],
    ]);
    expect((await readFile(told, 'utf8')).split('\n')).toEqual([
      'pre ',
      'post failed',
      'pre ',
      'post succeeded',
      '',
    ]);
    const log = (await world.trial.api.runLog(run.id)).map(({ text }) => text.en);
    expect(log).toContain(`scripts.post: | ${vm.name}`);
    await expectNothingLeft(world);
  });

  it('B1: adjustable compression is refused by name without a licence, and runs with one', async () => {
    const { api } = world.trial;
    const pool = await world.trial.standardPool('refused');
    const vm = await world.trial.vm(world.platform, 'small');
    const options = { compression: { mode: 'adjustable', level: 19 } };
    const definition = { ...labBackup, vmIds: [vm.id], poolId: pool.id, options };
    const backUp = () => world.trial.runJob(definition, 'dense', () => undefined);
    const { problem } = await problemOf(backUp());
    expect(problem).toMatchObject({ code: 'LICENCE_REQUIRED', status: 422 });
    expect(problem.detail).toMatch(/options\.compression\.mode.*adjustable.*advanced/);
    const terms = {
      ...{ id: newId<LicenceId>(), holder: 'Example GmbH', modules: { 'backup-host': 1 } },
      ...{ features: ['advanced'], issuedAt: new Date().toISOString(), expiresAt: null },
    };
    const foreign = await issueLicence(terms, (await newLicenceKey()).privateKey);
    expect((await problemOf(api.importLicence({ licence: foreign }))).problem).toMatchObject({
      code: 'LICENCE_INVALID',
      status: 422,
    });
    const imported = await api.importLicence({ licence: await issueLicence(terms, issuer.privateKey) });
    expect(imported).toMatchObject({ id: terms.id, state: 'valid', features: ['advanced'] });
    expectSucceeded(await backUp());
  });

  it('R17: a disk service that vanished fails the run, naming host and port', async () => {
    const pool = await world.trial.standardPool('refused');
    const vm = await world.trial.vm(world.platform, 'cut-off');
    const ended = await world.trial.api.watchRun(cutOffRun, () => undefined);
    expect(ended.state).toBe('failed');
    expect(ended.items[0]?.fault).toMatchObject({ code: 'DISK_SERVICE_UNREACHABLE' });
    expect(ended.items[0]?.fault?.message).toContain(world.trial.lab.hosts[1]?.address);
    await world.trial.lab.admin.diskService(2, 'running');
    expectSucceeded(await world.trial.backUp(vm, pool.id));
    await expectNothingLeft(world);
  });

  it('E1: a pool in a place that cannot be written is refused before anything is made', async () => {
    const file = join(world.stack.dir, 'a-file');
    await writeFile(file, 'no folder');
    await chmod(file, 0o600);
    const { problem } = await problemOf(
      world.trial.api.createPool({ name: 'nowhere', type: 'standard', path: join(file, 'pool') }),
    );
    expect(['POOL_UNREACHABLE', 'POOL_ACCESS_DENIED', 'INPUT_INVALID']).toContain(problem.code);
    expect((await world.trial.api.listPools()).map((pool) => pool.name)).not.toContain('nowhere');
  });
});
