import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type LabConfig } from './config.js';
import { prepareGuests } from './guest/prepare-guest.js';
import { chooseHostsDir, hostFolders } from './host/host-folders.js';
import { LabHost } from './host/lab-host.js';
import { Machines, makePoolFolder } from './platform/machines.js';
import { StateFile, type PlatformState } from './platform/state.js';
import { type LabUser } from './process/run-command.js';

/** The emulated platform: hosts with their daemons, machines, and what the CVM knows of them. */
export interface Lab {
  readonly hosts: ReadonlyMap<number, LabHost>;
  readonly file: StateFile;
  readonly machines: Machines;
  /** Stops guests and daemons; nothing of the lab runs after it. */
  stop(): Promise<void>;
}

const guestShutdownMs = 10_000;
const secret = (): string => randomBytes(12).toString('base64url');

/** A new lab's state: two storage pools and a switch per host, the default policy template and one with a VLAN. */
function newState(config: LabConfig, hostsDir: string): PlatformState {
  const hosts = Array.from({ length: config.hosts }, (_, index) => ({
    id: index + 1,
    name: `cvk${String(index + 1).padStart(2, '0')}`,
    address: `127.0.${String(config.net)}.${String(index + 11)}`,
  }));
  const vms = (name: string): string => hostFolders(hostsDir, name).vms;
  return {
    version: 1,
    nextId: 101,
    users: [
      { name: config.user, password: config.password ?? secret(), administrator: true },
      { name: 'viewer', password: secret(), administrator: false },
    ],
    diskServiceToken: config.diskService?.token ?? randomBytes(24).toString('base64url'),
    hosts,
    vms: [],
    storagePools: hosts.flatMap(({ id, name }) =>
      [
        ['defaultpool', '本地存储'],
        ['isopool', '镜像存储'],
      ].map(([pool = '', title = '']) => ({
        hostId: id,
        name: pool,
        title,
        type: 'dir' as const,
        path: join(vms(name), pool),
        active: true,
        quotaBytes: null,
      })),
    ),
    switches: hosts.map(({ id, address }) => ({
      id: id * 10,
      hostId: id,
      name: 'vswitch0',
      mode: 0,
      networkType: 'management',
      address,
      isManage: true,
    })),
    profiles: [
      { id: 1, name: 'Default', description: '', vlanId: null },
      { id: 2, name: 'vlan100', description: '业务网络', vlanId: 100 },
    ],
  };
}

/** A configuration that names a password, a token or a user holds over what an earlier start kept. */
function applyConfig(state: PlatformState, config: LabConfig): void {
  const administrator = state.users.find((user) => user.administrator);
  if (administrator) {
    administrator.name = config.user;
    administrator.password = config.password ?? administrator.password;
  }
  state.diskServiceToken = config.diskService?.token ?? state.diskServiceToken;
}

/** Starts the lab of `config.dir`, or takes up the one that is there. A start that fails leaves nothing running. */
export async function startLab(config: LabConfig, clock: () => Date, isRoot: boolean): Promise<Lab> {
  const user: LabUser | undefined = isRoot ? config.runAs : undefined;
  const hostsDir = await chooseHostsDir(config.dir, user);
  await mkdir(config.dir, { recursive: true });
  const { file, isNew } = await StateFile.open(join(config.dir, 'platform.json'), () =>
    newState(config, hostsDir),
  );
  applyConfig(file.state, config);
  await file.save();

  const guests = await prepareGuests(config.guestCache);
  const hosts = new Map(
    file.state.hosts.map((record) => [
      record.id,
      new LabHost({
        ...record,
        folders: hostFolders(hostsDir, record.name),
        user,
        volumeDirs: file.state.hosts.map((host) => hostFolders(hostsDir, host.name).vms),
        diskService: config.diskService
          ? { ...config.diskService, node: process.execPath, token: file.state.diskServiceToken }
          : null,
      }),
    ]),
  );
  const machines = new Machines(hosts, file, guests, clock);
  const stop = async (): Promise<void> => {
    await machines.stopAll(guestShutdownMs);
    for (const host of hosts.values()) await host.stop();
  };
  try {
    for (const host of hosts.values()) await host.start();
    for (const pool of file.state.storagePools) await makePoolFolder(pool.path, machines.host(pool.hostId));
    await machines.startWanted();
    for (const plan of isNew ? config.vms : []) await machines.createByPlan(plan);
  } catch (error) {
    await stop();
    throw error;
  }
  return { hosts, file, machines, stop };
}
