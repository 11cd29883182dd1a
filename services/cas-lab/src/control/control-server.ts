import { Fault, type FaultKind } from '@casvault/contracts';
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';
import { z } from 'zod';
import { settingsSchema } from '../cvm/settings.js';
import { type Platform } from '../cvm/platform.js';
import { imageInfo } from '../host/disk-images.js';
import { type VmRecord } from '../platform/state.js';
import { vmPlanSchema, workloadRatesSchema } from '../platform/vm-plan.js';
import { findLeftovers } from './leftovers.js';

/** Switches the emulated CVM's ports on and off. */
export interface CvmListener {
  readonly listening: boolean;
  listen(): Promise<void>;
  /** Connections are refused from then on, and those that were open are cut. */
  close(): Promise<void>;
}

const statusOf: Readonly<Record<FaultKind, number>> = {
  user: 400,
  conflict: 409,
  unavailable: 503,
  corrupt: 500,
  bug: 500,
};

const powerVerbs = ['start', 'shutDown', 'powerOff', 'suspend', 'resume'] as const;
const guestShutdownMs = 60_000;

/** The lab's own interface, beside the emulation and unknown to the product: what tests and demos steer the lab with. */
export function makeControlServer(platform: Platform, cvm: CvmListener): FastifyInstance {
  const server = Fastify({ forceCloseConnections: true });
  server.setErrorHandler((error, _request, reply) => {
    const fault = error instanceof z.ZodError ? inputFault(error) : Fault.from(error);
    return reply.code(statusOf[fault.kind]).send(fault.toJSON());
  });
  addSwitches(server, platform, cvm);
  addHosts(server, platform);
  addMachines(server, platform);
  return server;
}

const inputFault = (error: z.ZodError): Fault =>
  new Fault('INPUT_INVALID', error.issues.map((one) => `${one.path.join('.')}: ${one.message}`).join('; '));

const idIn = (request: FastifyRequest): number => Number((request.params as { id: string }).id);

function addSwitches(server: FastifyInstance, platform: Platform, cvm: CvmListener): void {
  server.get('/lab/settings', () => platform.settings);
  server.put('/lab/settings', (request) => {
    const change = settingsSchema.partial().parse(request.body);
    // zod fills defaults in: only what was sent is changed.
    const sent = Object.keys(request.body as object);
    const kept = Object.fromEntries(Object.entries(change).filter(([name]) => sent.includes(name)));
    platform.settings = { ...platform.settings, ...kept };
    return platform.settings;
  });
  server.put('/lab/busy', (request) => {
    platform.tasks.busyFaults = z.object({ tasks: z.number().int().min(0) }).parse(request.body).tasks;
    return {};
  });
  server.put('/lab/cvm', async (request) => {
    const { listening } = z.object({ listening: z.boolean() }).parse(request.body);
    await (listening ? cvm.listen() : cvm.close());
    return { listening: cvm.listening };
  });
  server.put('/lab/pools', async (request) => {
    const wanted = z
      .object({ hostId: z.number(), name: z.string(), quotaBytes: z.number().int().min(0).nullable() })
      .parse(request.body);
    const { storagePools } = platform.state;
    const pool = storagePools.find((one) => one.hostId === wanted.hostId && one.name === wanted.name);
    if (!pool)
      throw new Fault('NOT_FOUND', `no storage pool ${wanted.name} on host ${String(wanted.hostId)}`);
    pool.quotaBytes = wanted.quotaBytes;
    await platform.file.save();
    return pool;
  });
}

function addHosts(server: FastifyInstance, platform: Platform): void {
  server.get('/lab/hosts/:id/leftovers', async (request) =>
    findLeftovers(platform.machines.host(idIn(request)), platform.machines),
  );
  server.get('/lab/hosts/:id/disk-service', (request) => ({
    diskService: platform.machines.host(idIn(request)).diskService,
  }));
  server.put('/lab/hosts/:id/disk-service', async (request) => {
    const host = platform.machines.host(idIn(request));
    const { state } = z.object({ state: z.enum(['running', 'killed', 'crashed']) }).parse(request.body);
    if (state === 'running') await host.startDiskService();
    else await host.killDiskService(state === 'crashed');
    return { diskService: host.diskService };
  });
}

function addMachines(server: FastifyInstance, platform: Platform): void {
  const { machines } = platform;
  const vmIn = (request: FastifyRequest): VmRecord => machines.get(idIn(request));

  server.get('/lab/vms', async () => {
    const rows: object[] = [];
    for (const vm of machines.all) rows.push(await describe(platform, vm));
    return { items: rows };
  });
  server.get('/lab/vms/:id', async (request) => describe(platform, vmIn(request)));
  server.post('/lab/vms', async (request) =>
    describe(platform, await machines.createByPlan(vmPlanSchema.parse(request.body))),
  );
  server.delete('/lab/vms/:id', async (request) => {
    const vm = vmIn(request);
    if ((await machines.powerState(vm)) !== 'shutOff') await machines.powerOff(vm);
    await machines.remove(vm, true);
    return {};
  });
  server.put('/lab/vms/:id/power', async (request) => {
    const { verb } = z.object({ verb: z.enum(powerVerbs) }).parse(request.body);
    const vm = vmIn(request);
    if (verb === 'shutDown') await machines.shutDown(vm, guestShutdownMs);
    else await machines[verb](vm);
    return await describe(platform, vm);
  });
  server.get('/lab/vms/:id/workload', async (request) => machines.workload(vmIn(request)).ready());
  server.put('/lab/vms/:id/workload', async (request) => {
    const wanted = z
      .discriminatedUnion('running', [
        workloadRatesSchema.extend({ running: z.literal(true) }),
        z.object({ running: z.literal(false) }),
      ])
      .parse(request.body);
    const control = machines.workload(vmIn(request));
    return wanted.running ? await control.start(wanted) : await control.stop();
  });
}

async function describe(platform: Platform, vm: VmRecord): Promise<object> {
  const facts = await platform.machines.facts(vm);
  const disks: object[] = [];
  for (const { target, path, format, bus } of facts.disks) {
    disks.push({ target, path, format, bus, sizeBytes: (await imageInfo(path)).sizeBytes });
  }
  return {
    id: vm.id,
    uuid: vm.uuid,
    name: vm.name,
    hostId: vm.hostId,
    state: await platform.machines.powerState(vm),
    disks,
  };
}
