import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  freePort,
  startLab,
  startNats,
  startPostgres,
  type Lab,
  type LabOptions,
  type NatsServer,
  type PostgresServer,
} from '@casvault/testkit';
import { provisionSchema } from '@casvault/persistence';
import { ManagedProcess } from './managed-process.js';

/** Services of the stack in the order in which they are started; data-movers are numbered apart. */
const services = ['licensing-auth', 'inventory', 'scheduler', 'snapshot-engine', 'data-mover'] as const;

export interface StackOptions {
  /** Everything of this stack lives below it: databases, messages, logs, keys, the lab, the default pool. */
  readonly dir: string;
  readonly gatewayPort: number;
  /** Number of worker processes of the default group. */
  readonly movers: number;
  readonly lab: LabPlan | null;
  /** Environment added to a service, by its name (`data-mover` and `mover-1` apart). */
  readonly env?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** Told what is being started. */
  readonly onStep?: (what: string) => void;
}

/** The lab's own options; its folder and the token of its disk services are the stack's. */
export type LabPlan = Omit<LabOptions, 'dir' | 'diskServiceToken'>;

export interface Stack {
  readonly dir: string;
  readonly gatewayUrl: string;
  readonly adminPassword: string;
  readonly postgres: PostgresServer;
  readonly nats: NatsServer;
  readonly lab: Lab | null;
  /** `gateway`, `scheduler`, `data-mover` (the controller), `mover-1` … */
  process(name: string): ManagedProcess;
  stop(): Promise<void>;
}

const repositoryRoot = fileURLToPath(new URL('../../../../', import.meta.url));

/** A secret of this stack, made once and kept in a file that only its owner reads. */
const keptSecret = async (file: string): Promise<string> => {
  if (!existsSync(file)) {
    await writeFile(file, randomBytes(32).toString('base64'), { mode: 0o600 });
    await chmod(file, 0o600);
  }
  return (await readFile(file, 'utf8')).trim();
};

const waitForFile = async (file: string, timeoutMs: number): Promise<string> => {
  const deadline = Date.now() + timeoutMs;
  while (!existsSync(file)) {
    if (Date.now() > deadline) throw new Error(`${file} did not appear in ${timeoutMs} ms`);
    await sleep(100);
  }
  return (await readFile(file, 'utf8')).trim();
};

/**
 * Starts Postgres, NATS, every service and, if asked, the lab, on loopback addresses with embedded defaults. With the same `dir` a
 * later start finds the same data. Nothing outlives `stop`, nor a failed start.
 */
export const startStack = async (options: StackOptions): Promise<Stack> => {
  const started: (() => Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    for (const end of started.splice(0).reverse()) await end();
  };
  try {
    return await assemble(options, started, stop);
  } catch (error) {
    await stop();
    throw error;
  }
};

/** In MiB, as the chart's default limits give it to all but the workers: Node would go by the memory of the whole machine. */
const heapMiB = 153;

interface ServicePlan {
  /** `mover-1`; services that run once have their own name. */
  readonly name: string;
  readonly service: string;
  readonly env: Readonly<Record<string, string>>;
}

const passwordFileOf = (dir: string): string => join(dir, 'admin-password');

const planServices = async (options: StackOptions, postgres: PostgresServer): Promise<ServicePlan[]> => {
  const own: Record<string, Record<string, string>> = {
    'licensing-auth': { CASVAULT_BOOTSTRAP_PASSWORD_FILE: passwordFileOf(options.dir) },
    'data-mover': { CASVAULT_DATA_MOVER_ROLE: 'controller' },
  };
  const plans: ServicePlan[] = [];
  for (const service of services) {
    const databaseUrl = await provisionSchema(postgres.adminUrl, service);
    plans.push({ name: service, service, env: { CASVAULT_DATABASE_URL: databaseUrl, ...own[service] } });
  }
  for (let mover = 1; mover <= options.movers; mover += 1) {
    const name = `mover-${mover}`;
    const env = { CASVAULT_DATA_MOVER_ROLE: 'worker', CASVAULT_DATA_MOVER_NAME: name };
    plans.push({ name, service: 'data-mover', env });
  }
  const env = { CASVAULT_GATEWAY_PORT: String(options.gatewayPort) };
  plans.push({ name: 'gateway', service: 'gateway', env });
  return plans;
};

const makeProcess = async (
  plan: ServicePlan,
  options: StackOptions,
  common: Readonly<Record<string, string>>,
): Promise<ManagedProcess> => {
  const port = String(await freePort());
  const isWorker = plan.env['CASVAULT_DATA_MOVER_ROLE'] === 'worker';
  const heap: Record<string, string> = isWorker ? {} : { NODE_OPTIONS: `--max-old-space-size=${heapMiB}` };
  return new ManagedProcess({
    name: plan.name,
    main: join(repositoryRoot, 'services', plan.service, 'dist/src/main.js'),
    env: { ...common, ...heap, CASVAULT_HTTP_PORT: port, ...plan.env, ...options.env?.[plan.name] },
    logFile: join(options.dir, 'logs', `${plan.name}.log`),
    healthUrl: `http://127.0.0.1:${port}`,
  });
};

const assemble = async (
  options: StackOptions,
  started: (() => Promise<void>)[],
  stop: () => Promise<void>,
): Promise<Stack> => {
  const { dir } = options;
  const step = options.onStep ?? (() => undefined);
  await mkdir(join(dir, 'logs'), { recursive: true });
  step('Postgres and NATS');
  const postgres = await startPostgres({ dir: join(dir, 'postgres') });
  started.push(async () => postgres[Symbol.asyncDispose]());
  const nats = await startNats({ dir: join(dir, 'nats') });
  started.push(async () => nats[Symbol.asyncDispose]());

  step('services');
  const common = {
    CASVAULT_NATS_URL: nats.url,
    CASVAULT_SEALING_KEY: await keptSecret(join(dir, 'sealing-key')),
    CASVAULT_HTTP_ADDRESS: '127.0.0.1',
  };
  const processes = new Map<string, ManagedProcess>();
  for (const plan of await planServices(options, postgres)) {
    const process = await makeProcess(plan, options, common);
    started.push(() => process.stop());
    processes.set(plan.name, process);
  }
  await startInTurn([...processes.values()], 3);

  const lab = options.lab === null ? null : await startPlannedLab(options, options.lab, step);
  if (lab !== null) started.push(() => lab.stop());
  return {
    dir,
    gatewayUrl: `http://127.0.0.1:${options.gatewayPort}`,
    adminPassword: await waitForFile(passwordFileOf(dir), 60_000),
    postgres,
    nats,
    lab,
    process: (name) => {
      const found = processes.get(name);
      if (found === undefined) throw new Error(`no process ${name} in this stack`);
      return found;
    },
    stop,
  };
};

/** At most `width` processes are starting at once: each compiles some thousand modules. */
const startInTurn = async (processes: ManagedProcess[], width: number): Promise<void> => {
  const queue = [...processes];
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) await next.start();
  };
  await Promise.all(Array.from({ length: width }, worker));
};

const startPlannedLab = async (
  options: StackOptions,
  plan: LabPlan,
  step: (what: string) => void,
): Promise<Lab> => {
  step('the lab: an emulated CAS with running virtual machines');
  return startLab({
    ...plan,
    dir: join(options.dir, 'lab'),
    diskServiceToken: await keptSecret(join(options.dir, 'disk-service-token')),
  });
};
