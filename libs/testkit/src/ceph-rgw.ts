import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { freePort } from './place.js';
import { RunningProcess } from './process.js';
import { until } from './wait.js';

export interface CephRgw {
  /** `http://127.0.0.1:<port>` */
  readonly endpoint: string;
  readonly accessKeyId: string;
  readonly secretKey: string;
  createBucket(name: string): Promise<void>;
  stop(): Promise<void>;
}

export interface CephRgwOptions {
  /** An empty directory for configuration, monitor data and logs. */
  readonly dir: string;
  readonly signal?: AbortSignal;
}

const fsid = '6f0d2c52-7d0e-4c3e-9f43-5f1c6a0c7b10';
const osdId = '0b9f7d3c-31d4-4f39-8d0e-6c8c3a2f9e55';
const accessKeyId = 'CASVAULTTEST';
const secretKey = 'casvault-test-secret';

/**
 * A real Ceph object gateway on loopback: one monitor, one OSD that keeps its objects in memory (4 GiB at most), one RGW, as
 * foreground children of this process. Needs the packages ceph-mon, ceph-osd, ceph-common and radosgw; works as root.
 */
export const startCephRgw = async ({ dir, signal }: CephRgwOptions): Promise<CephRgw> => {
  const cluster = new Cluster(dir, signal);
  try {
    return await cluster.start();
  } catch (error) {
    await cluster.stop();
    throw error;
  }
};

class Cluster {
  readonly #dir: string;
  readonly #signal: AbortSignal | undefined;
  readonly #running: RunningProcess[] = [];

  constructor(dir: string, signal: AbortSignal | undefined) {
    this.#dir = dir;
    this.#signal = signal;
    process.once('exit', this.#killAll);
  }

  async start(): Promise<CephRgw> {
    const ports = { v2: await freePort(), v1: await freePort(), rgw: await freePort() };
    await this.#configure(ports);
    await this.#startMonitor(ports);
    await this.#startOsd();
    await this.#startGateway();
    const endpoint = `http://127.0.0.1:${ports.rgw}`;
    await until(async () => (await fetch(endpoint)).ok, 60_000, 100);
    return {
      endpoint,
      accessKeyId,
      secretKey,
      createBucket: (name) => createBucket(endpoint, name),
      stop: () => this.stop(),
    };
  }

  /** Everything is in memory or in `dir`, which nobody opens again: no reason to end it gently. */
  async stop(): Promise<void> {
    process.off('exit', this.#killAll);
    for (const child of this.#running.splice(0).reverse()) await child.kill9();
  }

  /** A test run that ends early leaves no cluster behind. */
  readonly #killAll = (): void => {
    for (const child of this.#running) void child.kill9();
  };

  async #configure(ports: { v2: number; v1: number; rgw: number }): Promise<void> {
    for (const name of ['mon', 'osd', 'run', 'rgw']) await mkdir(join(this.#dir, name), { recursive: true });
    await writeFile(this.#conf, configuration(this.#dir, ports));
  }

  async #startMonitor({ v2, v1 }: { v2: number; v1: number }): Promise<void> {
    const map = join(this.#dir, 'monmap');
    const addresses = `[v2:127.0.0.1:${v2},v1:127.0.0.1:${v1}]`;
    await this.#run('monmaptool', ['--create', '--fsid', fsid, '--addv', 'a', addresses, '--clobber', map]);
    await this.#run('ceph-mon', ['-i', 'a', '--mkfs', '--monmap', map, '-c', this.#conf]);
    this.#spawn('ceph-mon', ['-f', '-i', 'a', '-c', this.#conf]);
  }

  async #startOsd(): Promise<void> {
    await this.#run('ceph', ['-c', this.#conf, '--connect-timeout', '20', 'osd', 'new', osdId]);
    await this.#run('ceph-osd', ['-i', '0', '--mkfs', '--osd-uuid', osdId, '-c', this.#conf]);
    this.#spawn('ceph-osd', ['-f', '-i', '0', '-c', this.#conf]);
  }

  async #startGateway(): Promise<void> {
    const user = [
      '--uid=test',
      '--display-name=test',
      `--access-key=${accessKeyId}`,
      `--secret-key=${secretKey}`,
    ];
    await this.#run('radosgw-admin', ['-c', this.#conf, 'user', 'create', ...user]);
    this.#spawn('radosgw', ['-f', '-n', 'client.rgw', '-c', this.#conf]);
  }

  get #conf(): string {
    return join(this.#dir, 'ceph.conf');
  }

  #spawn(command: string, args: readonly string[]): RunningProcess {
    this.#signal?.throwIfAborted();
    const child = new RunningProcess(command, args);
    this.#running.push(child);
    return child;
  }

  async #run(command: string, args: readonly string[]): Promise<void> {
    const child = this.#spawn(command, args);
    const code = await child.exited;
    if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}:\n${child.output}`);
  }
}

const configuration = (dir: string, ports: { v2: number; v1: number; rgw: number }): string => `
[global]
fsid = ${fsid}
mon_host = [v2:127.0.0.1:${ports.v2},v1:127.0.0.1:${ports.v1}]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
auth_allow_insecure_global_id_reclaim = true
mon_data = ${dir}/mon
osd_data = ${dir}/osd
rgw_data = ${dir}/rgw
run_dir = ${dir}/run
admin_socket = ${dir}/run/$name.$pid.asok
pid_file = ${dir}/run/$name.pid
log_file = ${dir}/$name.log
mon_cluster_log_file = ${dir}/cluster.log
osd_objectstore = memstore
memstore_device_bytes = 4294967296
# Without it RGW gets EOPNOTSUPP for its object classes.
osd_class_dir = /usr/lib/x86_64-linux-gnu/rados-classes
erasure_code_dir = /usr/lib/x86_64-linux-gnu/ceph/erasure-code
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
mon_warn_on_pool_no_redundancy = false
mon_data_avail_warn = 2
mon_data_avail_crit = 1
# Every new pool waits for the maps of the monitor: it need not gather changes.
paxos_propose_interval = 0.01
paxos_min_wait = 0.01
setuser_match_path =
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:${ports.rgw}
rgw_rados_pool_pg_num_min = 1
# In the default mode RGW waits for 300 s where there is no authentication.
ms_mon_client_mode = crc
`;

const createBucket = async (endpoint: string, name: string): Promise<void> => {
  const credentials = { accessKeyId, secretAccessKey: secretKey };
  const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, credentials });
  try {
    await client.send(new CreateBucketCommand({ Bucket: name }));
  } finally {
    client.destroy();
  }
};
