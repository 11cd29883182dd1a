import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo } from 'node:net';
import { type DiskServiceHealth } from '@casvault/contracts';

type Json = Readonly<Record<string, unknown>>;
type Answer = (path: string, query: URLSearchParams) => Json | null;

/** Where all hosts say that they are. */
const address = '127.0.0.1';
const vmsPerHost = 100;
const base = '/cas/casrs';
const uuidTail = 12;

/** A server of JSON on the loopback address. What `answer` has nothing for is not found. */
async function serve(answer: Answer): Promise<Server> {
  const reply = ({ url = '/' }: IncomingMessage, response: ServerResponse): void => {
    const { pathname, searchParams } = new URL(url, `http://${address}`);
    const body = answer(pathname, searchParams);
    response.writeHead(body === null ? 404 : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body ?? {}));
  };
  const server = createServer(reply);
  await new Promise<void>((resolve) => server.listen(0, address, resolve));
  return server;
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port;

/** Stops listening; connections that are kept open are closed. */
async function close(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => void server.close(() => resolve()));
  server.closeAllConnections();
  await closed;
}

/**
 * The edge of the world: a CVM with so many running VMs, and the disk service of all its hosts, as far as registration, synchronisation,
 * facts and reconciliation ask of them. It answers whoever asks, holds nothing but numbers, and makes rows as they are asked for: what a
 * CVM costs is not what is measured. Memory: one page of rows.
 */
export class Edge {
  readonly #cvm: Server;
  readonly #diskService: Server;

  private constructor(cvm: Server, diskService: Server) {
    this.#cvm = cvm;
    this.#diskService = diskService;
  }

  static async start(vms: number): Promise<Edge> {
    const cvm = await serve((path, query) => answerOfCvm(vms, path, query));
    return new Edge(cvm, await serve(answerOfDiskService));
  }

  readonly address = address;
  get cvmPort(): number {
    return portOf(this.#cvm);
  }
  get diskServicePort(): number {
    return portOf(this.#diskService);
  }

  async stop(): Promise<void> {
    await close(this.#cvm);
    await close(this.#diskService);
  }
}

const health: DiskServiceHealth = {
  service: 'casvault-disk-service',
  version: '0.1.0',
  libvirtVersion: '8.0.0',
  qemuVersion: '8.0.0',
  openings: 0,
  liveExport: true,
};

function answerOfDiskService(path: string): Json | null {
  if (path === '/v1/health') return { ...health };
  return /^\/v1\/vms\/[^/]+\/checkpoints$/.test(path) ? { items: [] } : null;
}

const hostsFor = (vms: number): number => Math.max(1, Math.ceil(vms / vmsPerHost));
const hostIdOf = (vm: number, vms: number): number => 1 + ((vm - 1) % hostsFor(vms));
const numbered = (name: string, number: number): string => `${name}-${String(number).padStart(5, '0')}`;
const uuidOf = (vm: number): string => `00000000-0000-4000-8000-${vm.toString(16).padStart(uuidTail, '0')}`;
const macOf = (vm: number): string =>
  `0c:da:41:${vm
    .toString(16)
    .padStart(6, '0')
    .replace(/(..)(?=.)/g, '$1:')}`;

/** VMs are numbered from 1, in the order of the list. */
function answerOfCvm(vms: number, url: string, query: URLSearchParams): Json | null {
  const path = url.startsWith(base) ? url.slice(base.length) : '';
  switch (path) {
    case '/operator/test':
    case '/profile':
    case '/vmTemplate/vmTemplateList':
      return {};
    case '/version':
      return { casVersion: 'V7.0 (E0780)' };
    case '/hostpool/all':
      return { hostPool: [{ id: 1, name: 'pool' }] };
    case '/host':
      return { host: Array.from({ length: hostsFor(vms) }, (_, index) => hostRow(index + 1)) };
    case '/storage/pool':
      return { storagePool: [storagePool] };
    case '/vm/vmList':
      return { domain: vmList(vms, query) };
    default:
      return answerById(vms, path);
  }
}

function answerById(vms: number, path: string): Json | null {
  const [, hostText, isSwitch] = /^\/host\/id\/(\d+)(\/vswitch)?$/.exec(path) ?? [];
  const host = Number(hostText);
  if (host >= 1 && host <= hostsFor(vms))
    return isSwitch === undefined ? hostDetail(host) : { vSwitch: [managementSwitch(host)] };
  const vm = Number(/^\/vm\/detail\/(\d+)$/.exec(path)?.[1]);
  return vm >= 1 && vm <= vms ? vmDetail(vm, vms) : null;
}

const hostRow = (id: number): Json => ({ id, ip: address, name: numbered('cvk', id) });

const hostDetail = (id: number): Json => ({
  ...hostRow(id),
  hostPoolId: 1,
  vendor: 'Emulated',
  cpuModel: 'x86_64',
  cpuCount: 64,
  memorySize: 524_288,
  status: 1,
  pNIC: [{ name: 'eth0', status: 1 }],
});

const managementSwitch = (host: number): Json => ({
  id: host,
  hostId: host,
  name: 'vswitch0',
  mode: 0,
  address,
  isManage: 1,
  networkType: 'management',
  status: 1,
});

const storagePool: Json = {
  name: 'defaultpool',
  title: 'defaultpool',
  type: 'dir',
  path: '/vms/images',
  totalSize: 104_857_600,
  freeSize: 52_428_800,
  status: 1,
};

function vmList(vms: number, query: URLSearchParams): Json[] {
  const uuid = query.get('uuid');
  if (uuid !== null) {
    const vm = Number.parseInt(uuid.slice(-uuidTail), 16);
    return vm >= 1 && vm <= vms ? [vmRow(vm, vms)] : [];
  }
  const first = Number(query.get('offset') ?? 0) + 1;
  const last = Math.min(vms, first + Number(query.get('limit') ?? vms) - 1);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => vmRow(first + index, vms));
}

function vmRow(vm: number, vms: number): Json {
  const hostId = hostIdOf(vm, vms);
  const name = numbered('vm', vm);
  return {
    id: vm,
    name,
    title: name,
    uuid: uuidOf(vm),
    status: 2,
    vmStatus: 'running',
    hostId,
    hostName: numbered('cvk', hostId),
    cpu: 4,
    memory: 8_192,
  };
}

/** Every second VM has a data disk. */
function vmDetail(vm: number, vms: number): Json {
  const name = numbered('vm', vm);
  const disk = (target: string, size: number): Json => ({
    device: 'disk',
    deviceName: target,
    path: `/vms/images/${name}-${target}`,
    format: 'qcow2',
    fileType: 'file',
    targetBus: 'virtio',
    size,
    maxSize: size,
    diskMode: 'subordinate',
    snapShot: 0,
    poolName: 'defaultpool',
  });
  return {
    id: vm,
    name,
    title: name,
    uuid: uuidOf(vm),
    hostId: hostIdOf(vm, vms),
    status: 'running',
    basic: { architecture: 'x86_64', desc: '' },
    cpu: { cpuSockets: 2, cpuCores: 2 },
    memory: { size: 8_192 },
    storage: [disk('vda', 40_960), ...(vm % 2 === 0 ? [disk('vdb', 102_400)] : [])],
    network: [{ mac: macOf(vm), deviceModel: 'virtio', vsId: 1, vsName: 'vswitch0' }],
  };
}
