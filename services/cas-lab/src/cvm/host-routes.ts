import { cpus, loadavg, totalmem, freemem } from 'node:os';
import { type LabHost } from '../host/lab-host.js';
import { CasError, casErrorCodes } from '../rest/cas-error.js';
import { type Fields } from '../rest/shape.js';
import { cluster, hostPool, type Platform } from './platform.js';
import { get, idOf, list, one, page, type Route } from './route.js';
import { vmRows } from './vm-view.js';

const MiB = 1_048_576;

/** Throws "no such host". */
export function hostById(platform: Platform, id: string | undefined): LabHost {
  const host = platform.hosts.get(idOf(id));
  if (!host) throw new CasError(casErrorCodes.noSuchHost, '主机不存在。');
  return host;
}

const hostRow = (host: LabHost): Fields => ({
  '@type': 'kvm',
  id: host.id,
  ip: host.address,
  name: host.name,
});

const memRate = (): number => Math.round((1 - freemem() / totalmem()) * 100);
const cpuRate = (): number => Math.min(100, Math.round(((loadavg()[0] ?? 0) / cpus().length) * 100));

async function isNormal(host: LabHost): Promise<boolean> {
  return await host.libvirt.version().then(
    () => true,
    () => false,
  );
}

async function hostDetail(platform: Platform, host: LabHost): Promise<Fields> {
  const processors = cpus();
  const { totalBytes } = await host.capacity();
  return {
    id: host.id,
    name: host.name,
    ip: host.address,
    hostPoolId: hostPool.id,
    clusterId: cluster.id,
    vendor: 'CAS-LAB',
    model: 'Emulated CVK',
    cpuModel: platform.settings.cpuModel ?? processors[0]?.model ?? 'QEMU TCG',
    cpuCount: processors.length,
    cpuSockets: 1,
    cpuCores: processors.length,
    cpuFrequence: processors[0]?.speed ?? 0,
    memorySize: Math.floor(totalmem() / MiB),
    diskSize: Math.floor(totalBytes / MiB),
    status: (await isNormal(host)) ? 1 : 0,
    pNIC: [
      {
        name: 'eth0',
        macAddr: `0c:da:41:ff:00:${String(host.id).padStart(2, '0')}`,
        status: 1,
        description: '',
      },
    ],
  };
}

/** Host row with counts, as the calls for clusters and pools of hosts give it. */
async function countedHost(platform: Platform, host: LabHost): Promise<Fields> {
  const own = platform.machines.all.filter((vm) => vm.hostId === host.id);
  const states = await platform.machines.powerStates(host.id);
  const running = own.filter((vm) => states.get(vm.uuid) === 'running').length;
  return {
    id: host.id,
    name: host.name,
    ip: host.address,
    hostPoolId: hostPool.id,
    clusterId: cluster.id,
    vmNum: own.length,
    vmRunCount: running,
    vmShutoff: own.length - running,
    cpuRate: cpuRate(),
    memRate: memRate(),
    status: (await isNormal(host)) ? 1 : 0,
  };
}

async function countedHosts(platform: Platform): Promise<Fields[]> {
  const rows: Fields[] = [];
  for (const host of platform.hosts.values()) rows.push(await countedHost(platform, host));
  return rows;
}

const clusterRow = (platform: Platform): Fields => ({
  id: cluster.id,
  name: cluster.name,
  description: '',
  enableHA: 0,
  enableSLB: 0,
  childNum: platform.hosts.size,
});

const hostMonitor = async (host: LabHost): Promise<Fields> => {
  const { totalBytes, freeBytes } = await host.capacity();
  return {
    id: host.id,
    cpuRate: cpuRate(),
    memRate: memRate(),
    disk: [{ device: '/vms', usage: Math.round((1 - freeBytes / totalBytes) * 100) }],
  };
};

/** Host pools, clusters and hosts. */
export const hostRoutes: Route[] = [
  get('/hostpool/all', () =>
    list('hostPool', [{ ...hostPool, childNum: 1, operatorGroupId: 1, operatorGroupCode: 'ROOT' }]),
  ),
  get('/hostpool/:id/allChildNode', ({ params, platform }) => {
    if (idOf(params['id']) !== hostPool.id) {
      throw new CasError(casErrorCodes.noSuchHostPool, '主机池不存在。');
    }
    return one('hostPool', { clusterList: [clusterRow(platform)], nodeHostList: [] });
  }),
  get('/hostpool/host/:id', async ({ platform, query }) =>
    list('host', page(await countedHosts(platform), query)),
  ),
  get('/cluster/clusters', ({ platform }) => list('cluster', [clusterRow(platform)])),
  get('/cluster/hosts', async ({ platform, query }) =>
    list(
      'host',
      query['clusterId'] === undefined || idOf(query['clusterId']) === cluster.id
        ? page(await countedHosts(platform), query)
        : [],
    ),
  ),
  get('/cluster/:id', ({ platform }) => one('cluster', clusterRow(platform))),
  get('/host', ({ platform }) => list('host', [...platform.hosts.values()].map(hostRow))),
  get('/host/list', async ({ platform }) => {
    const rows: Fields[] = [];
    for (const host of platform.hosts.values()) rows.push(await hostDetail(platform, host));
    return list('host', rows);
  }),
  get('/host/id/:id', async ({ params, platform }) =>
    one('host', await hostDetail(platform, hostById(platform, params['id']))),
  ),
  get('/host/id/:id/monitor', async ({ params, platform }) =>
    one('host', await hostMonitor(hostById(platform, params['id']))),
  ),
  get('/host/id/:id/vm', async ({ params, platform }) => {
    const host = hostById(platform, params['id']);
    return list('domain', await vmRows(platform, (vm) => vm.hostId === host.id));
  }),
];
