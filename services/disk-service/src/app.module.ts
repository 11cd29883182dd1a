import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Fault, type Clock, type Logger } from '@casvault/contracts';
import { Libvirt, type Domain } from '@casvault/libvirt';
import { Module, type DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Config } from './config.js';
import { Checkpoints } from './host/checkpoints.js';
import { ImageServers } from './host/image-server.js';
import { LiveCaptures } from './host/live-capture.js';
import { tempDir } from './host/names.js';
import { Ports } from './host/ports.js';
import { GuestFreezer } from './host/quiesce.js';
import { bearerToken } from './http/access.guard.js';
import { CheckpointsController } from './http/checkpoints.controller.js';
import { EndedItemsController } from './http/ended-items.controller.js';
import { HealthController, liveExportToken, serviceVersionToken } from './http/health.controller.js';
import { nbdAddressToken, OpeningsController } from './http/openings.controller.js';
import { ProblemFilter } from './http/problem.js';
import { traceRequests } from './http/request-trace.js';
import { Metrics } from './metrics.js';
import { CapturePlanner } from './opening/capture-planner.js';
import { OpeningEffects } from './opening/effects.js';
import { EndedItems } from './opening/ended-items.js';
import { Openings } from './opening/openings.js';
import { Planner } from './opening/planner.js';
import { RecordStore } from './opening/record-store.js';
import { Sweeper } from './opening/sweeper.js';

/** A caller can't renew while the service is away: openings found at start get this long at least. */
const resumeGraceMs = 30_000;
/** Longest request: 64 disks with paths of 4 KiB. */
const bodyLimitBytes = 1 << 19;
/** For a request to come in whole; its answer may take longer. */
const requestTimeoutMs = 30_000;

const systemClock: Clock = {
  now: () => new Date(),
  sleep: async (ms, signal) => {
    await delay(ms, undefined, signal ? { signal } : {}).catch(() => undefined);
  },
};

@Module({})
class DiskServiceModule {}

interface Service {
  readonly app: NestFastifyApplication;
  readonly sweeper: Sweeper;
}

/** Builds the service, takes up what an earlier process left, and returns it ready to listen. */
export async function createService(config: Config, logger: Logger, version: string): Promise<Service> {
  // First, since it sets the mode of the folders above both: QEMU's user must get to the scratch files.
  await mkdir(config.scratchDir, { recursive: true, mode: 0o711 });
  await mkdir(config.stateDir, { recursive: true, mode: 0o700 });
  await mkdir(tempDir(config), { recursive: true, mode: 0o700 });
  await removeOld(tempDir(config));
  const parts = assemble(config, logger);
  await parts.store.load(logger);
  await parts.ended.load(systemClock.now(), logger);
  await parts.servers.prepare();
  await parts.openings.resume(resumeGraceMs);
  await parts.sweeper.removeStrays().catch((error: unknown) => {
    logger.error({ said: error instanceof Error ? error.message : String(error) }, 'strays are not removed');
  });
  const app = await NestFactory.create<NestFastifyApplication>(
    moduleOf(config, parts, version),
    new FastifyAdapter({
      bodyLimit: bodyLimitBytes,
      requestTimeout: requestTimeoutMs,
      https: httpsOptions(config),
    } as object),
    { logger: false, abortOnError: false },
  );
  app.useGlobalFilters(new ProblemFilter());
  traceRequests(app.getHttpAdapter().getInstance(), logger, parts.metrics);
  return { app, sweeper: parts.sweeper };
}

/** Documents of a killed service; its last virsh may still read one that is younger. */
async function removeOld(dir: string): Promise<void> {
  for (const name of await readdir(dir)) {
    const path = join(dir, name);
    const { mtimeMs } = await stat(path);
    if (systemClock.now().getTime() - mtimeMs > 60_000) await rm(path, { recursive: true, force: true });
  }
}

type Parts = ReturnType<typeof assemble>;

function assemble(config: Config, logger: Logger) {
  const clock = systemClock;
  const metrics = new Metrics();
  const libvirt = new Libvirt({ uri: config.libvirtUri, tempDir: tempDir(config) });
  const live = new LiveCaptures(libvirt, config, config.nbdTlsDir !== null, logger);
  const servers = new ImageServers(config, config.nbdTlsDir);
  const store = new RecordStore(config.stateDir);
  const ended = new EndedItems(config.stateDir);
  const checkpoints = new Checkpoints(libvirt, logger);
  const freezer = new GuestFreezer(libvirt, clock, logger);
  const domain = (vmUuid: string): Promise<Domain | null> => domainOrNull(libvirt, vmUuid);
  const ports = new Ports(config.nbdPorts);
  const effects = new OpeningEffects({ live, servers, checkpoints, freezer, ports, domain, clock, logger });
  const { volumeDirs, scratchReserveBytes, maxOpenings, liveExport } = config;
  const captures = new CapturePlanner({
    ...{ libvirt, live, checkpoints, logger },
    scratchReserveBytes,
    liveExport,
  });
  const planner = new Planner({ captures, libvirt, checkpoints, volumeDirs, logger });
  const tls = config.nbdTlsDir !== null;
  const openings = new Openings({
    ...{ store, ended, effects, planner, checkpoints, clock, logger, metrics },
    tls,
    maxOpenings,
  });
  const sweeper = new Sweeper({ openings, store, live, servers, clock, logger, scratchReserveBytes });
  return { metrics, libvirt, live, servers, store, ended, openings, sweeper };
}

/** A VM that left this host does not run on it either. */
async function domainOrNull(libvirt: Libvirt, vmUuid: string): Promise<Domain | null> {
  try {
    return await libvirt.domain(vmUuid);
  } catch (error) {
    if (Fault.is(error) && error.code === 'VM_NOT_FOUND') return null;
    throw error;
  }
}

function moduleOf(config: Config, parts: Parts, version: string): DynamicModule {
  return {
    module: DiskServiceModule,
    controllers: [OpeningsController, CheckpointsController, EndedItemsController, HealthController],
    providers: [
      { provide: Openings, useValue: parts.openings },
      { provide: Metrics, useValue: parts.metrics },
      { provide: Libvirt, useValue: parts.libvirt },
      { provide: LiveCaptures, useValue: parts.live },
      { provide: bearerToken, useValue: config.token },
      { provide: nbdAddressToken, useValue: config.nbdAddress },
      { provide: serviceVersionToken, useValue: version },
      { provide: liveExportToken, useValue: config.liveExport },
    ],
  };
}

/** With a client authority, only callers that it signed get as far as HTTP. */
function httpsOptions({ tls }: Config): object | null {
  if (!tls) return null;
  const { cert, key, clientCa } = tls;
  return {
    cert,
    key,
    minVersion: 'TLSv1.2',
    ...(clientCa === null ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: true }),
  };
}
