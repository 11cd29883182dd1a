import { Fault, type FaultKind } from '@casvault/contracts';
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';
import { z } from 'zod';
import { settingsSchema } from '../cvm/settings.js';
import { type Platform } from '../cvm/platform.js';
import { makeDisk } from '../cvm/vm-create.js';
import { imageFormats, imageInfo } from '../host/disk-images.js';
import { cacheTypes, diskBuses } from '../host/domain-xml.js';
import { killMachine, plugDisk, resizeDisk, takenTargets } from '../platform/hardware.js';
import { migrate } from '../platform/migration.js';
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
  server.get('/lab/busy', () => ({ targets: platform.tasks.busyWith }));
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
    const { hostId, name, ...change } = poolChangeSchema.parse(request.body);
    const { storagePools } = platform.state;
    const pool = storagePools.find((one) => one.hostId === hostId && one.name === name);
    if (!pool) throw new Fault('NOT_FOUND', `no storage pool ${name} on host ${String(hostId)}`);
    pool.quotaBytes = change.quotaBytes ?? (change.quotaBytes === null ? null : pool.quotaBytes);
    pool.active = change.active ?? pool.active;
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
  server.put('/lab/hosts/:id/live-export', async (request) => {
    const { offered } = z.object({ offered: z.boolean() }).parse(request.body);
    await platform.machines.host(idIn(request)).offerLiveExport(offered);
    return { offered };
  });
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
  addUpheavals(server, platform);
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

/** What administrators and mishaps do to machines beside any backup. */
function addUpheavals(server: FastifyInstance, platform: Platform): void {
  const { machines, snapshots } = platform;
  const vmIn = (request: FastifyRequest): VmRecord => machines.get(idIn(request));

  server.put('/lab/vms/:id/kill', async (request) => {
    await killMachine(machines, vmIn(request));
    return await describe(platform, vmIn(request));
  });
  server.put('/lab/vms/:id/shutdown-ignored', (request) => {
    machines.ignoreShutdown(vmIn(request), z.object({ ignored: z.boolean() }).parse(request.body).ignored);
    return {};
  });
  server.post('/lab/vms/:id/disks', async (request) => {
    const vm = vmIn(request);
    const { sizeBytes, ...row } = newDiskSchema.parse(request.body);
    const taken = await takenTargets(machines, vm);
    const disk = await makeDisk(platform, vm, { ...row, capacity: sizeBytes / MiB }, taken);
    await plugDisk(machines, vm, disk);
    if (row.diskMode === 'independent-persistent') vm.independent.push(disk.target);
    await machines.save();
    return { target: disk.target, path: disk.path };
  });
  server.put('/lab/vms/:id/disks/:target', async (request) => {
    const { target } = request.params as { target: string };
    const { sizeBytes } = sizeSchema.parse(request.body);
    await resizeDisk(machines, vmIn(request), target, sizeBytes);
    return await describe(platform, vmIn(request));
  });
  server.put('/lab/vms/:id/host', async (request) => {
    const { hostId } = z.object({ hostId: z.number() }).parse(request.body);
    await migrate(machines, vmIn(request), hostId);
    return await describe(platform, vmIn(request));
  });
  server.get('/lab/vms/:id/snapshots', async (request) => ({ items: await snapshots.list(vmIn(request)) }));
  server.post('/lab/vms/:id/snapshots', async (request) => {
    await snapshots.create(vmIn(request), newSnapshotSchema.parse(request.body));
    return {};
  });
  server.delete('/lab/vms/:id/snapshots/:name', async (request) => {
    await snapshots.delete(vmIn(request), (request.params as { name: string }).name);
    return {};
  });
  server.put('/lab/vms/:id/snapshots/:name/revert', async (request) => {
    await snapshots.revert(vmIn(request), (request.params as { name: string }).name);
    return {};
  });
}

/** What is absent stays as it is. */
const poolChangeSchema = z.object({
  hostId: z.number(),
  name: z.string(),
  quotaBytes: z.number().int().min(0).nullable().optional(),
  active: z.boolean().optional(),
});

const MiB = 1_048_576;
const sizeSchema = z.object({ sizeBytes: z.number().int().min(512).multipleOf(512) });
const newDiskSchema = z.object({
  sizeBytes: z.number().int().min(MiB).multipleOf(MiB, 'whole MiB, as a CVM counts'),
  targetBus: z.enum(diskBuses).default('virtio'),
  driveType: z.enum(imageFormats).default('qcow2'),
  cacheType: z.enum(cacheTypes).default('writeback'),
  poolName: z.string().default('defaultpool'),
  diskMode: z.enum(['dependent', 'independent-persistent']).default('dependent'),
});
const newSnapshotSchema = z
  .object({
    name: z.string().regex(/^[A-Za-z0-9_.-]{1,64}$/),
    kind: z.enum(['memory', 'internal', 'external']),
    description: z.string().default(''),
  })
  .transform((plan) => ({ ...plan, title: plan.name }));

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
    isTemplate: vm.isTemplate,
    state: await platform.machines.powerState(vm),
    disks,
  };
}
