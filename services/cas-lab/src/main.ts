import { readConfig, readEnvironment, type LabConfig } from './config.js';
import { Authentication } from './cvm/authentication.js';
import { makeCvmServer } from './cvm/cvm-server.js';
import { Platform } from './cvm/platform.js';
import { initialSettings } from './cvm/settings.js';
import { makeControlServer } from './control/control-server.js';
import { CvmPorts, type ListenerPlan } from './control/cvm-listener.js';
import { startLab, type Lab } from './lab.js';
import { Snapshots } from './platform/snapshots.js';
import { lockFolder } from './process/folder-lock.js';
import { TaskBoard } from './rest/task-board.js';
import { makeTlsFiles } from './rest/tls-files.js';

/** The configuration is wrong: EX_CONFIG of sysexits.h. */
const exitConfig = 78;
const clock = (): Date => new Date();

/** Where everything is, on one line for the program that started the lab. */
function readyLine(config: LabConfig, lab: Lab, tls: boolean): string {
  const { state } = lab.file;
  const administrator = state.users.find((user) => user.administrator);
  return JSON.stringify({
    ready: true,
    emulation: 'This is an emulation of H3C CAS for trials and tests, not a CAS.',
    release: config.release,
    cvm: { ...config.cvm, tlsPort: tls ? config.cvm.tlsPort : null },
    admin: `http://${config.cvm.address}:${String(config.adminPort)}/lab`,
    user: config.user,
    ...(config.password === null ? { password: administrator?.password } : {}),
    viewer: state.users.find((user) => !user.administrator),
    diskService: config.diskService && {
      port: config.diskService.port,
      ...(config.diskService.token === null ? { token: state.diskServiceToken } : {}),
    },
    hosts: [...lab.hosts.values()].map(({ id, name, address, folders }) => ({
      id,
      name,
      address,
      root: folders.root,
      vms: folders.vms,
      env: folders.env,
    })),
    vms: state.vms.map(({ id, uuid, name, hostId }) => ({ id, uuid, name, hostId })),
  });
}

/** Serves the platform of a started lab; what ends the serving. */
async function serve(config: LabConfig, lab: Lab): Promise<{ tls: boolean; close: () => Promise<void> }> {
  const { file, hosts, machines } = lab;
  const snapshots = new Snapshots(machines, file, clock);
  const settings = initialSettings(config.release);
  const platform = new Platform(hosts, machines, snapshots, file, new TaskBoard(clock), clock, settings);
  const authentication = new Authentication(() => file.state.users, clock);
  const tls = await makeTlsFiles(config.dir, config.cvm.address);
  const { address, port, tlsPort } = config.cvm;
  const plans: ListenerPlan[] = [{ address, port, make: () => makeCvmServer(platform, authentication) }];
  if (tls) plans.push({ address, port: tlsPort, make: () => makeCvmServer(platform, authentication, tls) });
  const ports = new CvmPorts(plans);
  const control = makeControlServer(platform, ports);
  const close = async (): Promise<void> => {
    await ports.close();
    await control.close();
  };
  try {
    await ports.listen();
    await control.listen({ host: address, port: config.adminPort });
  } catch (error) {
    await close();
    throw error;
  }
  return { tls: tls !== null, close };
}

/** Resolves at the first SIGTERM or SIGINT; from now on these end the lab in its own order. */
const ended = (): Promise<void> =>
  new Promise((resolve) => {
    process.on('SIGTERM', () => resolve());
    process.on('SIGINT', () => resolve());
  });

async function run(config: LabConfig): Promise<void> {
  const end = ended();
  const unlock = await lockFolder(config.dir);
  try {
    // A signal during the start is honoured after it: half-started daemons could not be told apart.
    const lab = await startLab(config, clock, process.getuid?.() === 0);
    try {
      const server = await serve(config, lab);
      console.log(readyLine(config, lab, server.tls));
      await end;
      await server.close();
    } finally {
      await lab.stop();
    }
  } finally {
    await unlock();
  }
}

async function main(): Promise<void> {
  let config: LabConfig;
  try {
    config = readConfig(readEnvironment());
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exit(exitConfig);
  }
  await run(config);
  process.exit(0);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
