import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { access, chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { DiskServiceClient, type DiskServiceAccess } from '@casvault/block-source';
import type { DiskExport } from '@casvault/contracts';
import { escapeXml, type Libvirt } from '@casvault/libvirt';
import { startSessionDaemon, type SessionDaemon } from '@casvault/libvirt/testing';
import { freePort } from '@casvault/testkit';

const run = promisify(execFile);
const main = fileURLToPath(new URL('../src/main.js', import.meta.url));

export interface TestDisk {
  readonly target: string;
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
}
export interface TestVm {
  readonly uuid: string;
  readonly name: string;
  readonly disks: readonly TestDisk[];
}

/** A host as the service finds it: a libvirt daemon, VMs under emulation, folders, and the service itself as a process. */
export class HypervisorHost {
  readonly dir: string;
  readonly libvirt: Libvirt;
  readonly token = randomBytes(24).toString('hex');
  /** Set: the service is spoken to over TLS. */
  tls: DiskServiceAccess['tls'];
  readonly #daemon: SessionDaemon;
  readonly #port: number;
  readonly #nbdPorts: string;
  #service: ChildProcess | undefined;
  #virsh = '/usr/bin/virsh';

  private constructor(dir: string, daemon: SessionDaemon, port: number, nbdPorts: string) {
    this.dir = dir;
    this.#daemon = daemon;
    this.libvirt = daemon.libvirt;
    this.#port = port;
    this.#nbdPorts = nbdPorts;
  }

  /** `nbdPorts`: every suite has its own range, since all share this machine's loopback. */
  static async start(nbdPorts: string, qemuConf: readonly string[] = []): Promise<HypervisorHost> {
    // Short: sockets of QEMU lie below it.
    const dir = await mkdtemp('/var/tmp/casvault-ds-');
    await chmod(dir, 0o755);
    const daemon = await startSessionDaemon(join(dir, 'd'), { qemuConf });
    const host = new HypervisorHost(dir, daemon, await freePort(), nbdPorts);
    for (const folder of [host.vms, host.scratch]) {
      await mkdir(folder);
      if (daemon.runAs) await chown(folder, daemon.runAs.uid, daemon.runAs.gid);
    }
    return host;
  }

  get vms(): string {
    return join(this.dir, 'vms');
  }
  get scratch(): string {
    return join(this.dir, 'scratch');
  }
  get state(): string {
    return join(this.dir, 'state');
  }
  get url(): string {
    return `${this.tls ? 'https' : 'http'}://127.0.0.1:${String(this.#port)}`;
  }
  get client(): DiskServiceClient {
    return new DiskServiceClient({
      url: this.url,
      token: this.token,
      ...(this.tls ? { tls: this.tls } : {}),
    });
  }

  async stop(): Promise<void> {
    await this.stopService('SIGKILL');
    await this.#daemon.stop();
    for (const pid of await this.imageServers()) process.kill(pid, 'SIGKILL');
    await rm(this.dir, { recursive: true, force: true });
  }

  async killLibvirt(): Promise<void> {
    await this.#daemon.kill();
  }
  async reviveLibvirt(): Promise<void> {
    await this.#daemon.revive();
  }

  /** Starts the service; resolves when it answers. */
  async startService(settings: Record<string, string> = {}): Promise<void> {
    const prefixed = Object.entries(settings).map(([key, value]) => [
      key.startsWith('OTEL_') ? key : `CASVAULT_DISK_SERVICE_${key}`,
      value,
    ]);
    const child = spawn(process.execPath, [main], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: {
        PATH: `${join(this.dir, 'bin')}:${join(this.dir, 'agent')}:${process.env['PATH'] ?? ''}`,
        CASVAULT_DISK_SERVICE_ADDRESS: '127.0.0.1',
        CASVAULT_DISK_SERVICE_PORT: String(this.#port),
        CASVAULT_DISK_SERVICE_TOKEN: this.token,
        CASVAULT_DISK_SERVICE_LIBVIRT_URI: this.#daemon.uri,
        CASVAULT_DISK_SERVICE_NBD_PORTS: this.#nbdPorts,
        CASVAULT_DISK_SERVICE_SCRATCH_DIR: this.scratch,
        CASVAULT_DISK_SERVICE_STATE_DIR: this.state,
        CASVAULT_DISK_SERVICE_VOLUME_DIRS: this.vms,
        ...(Object.fromEntries(prefixed) as Record<string, string>),
      },
    });
    this.#service = child;
    for (let attempt = 0; ; attempt++) {
      const isUp = await this.client.health().then(
        () => true,
        () => false,
      );
      if (isUp) return;
      if (attempt > 1_200 || child.exitCode !== null) throw new Error('the disk service does not start');
      await delay(50);
    }
  }

  async stopService(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this.#service;
    this.#service = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await ended;
  }

  /** Starts the service anew, without its state. */
  async forgetOpenings(): Promise<void> {
    await this.stopService('SIGKILL');
    await rm(join(this.state, 'openings'), { recursive: true, force: true });
    await this.startService();
  }

  /**
   * Arms a trap in front of the commands that change the host: the `nth` of them from now kills the service, `after` its
   * work or `before` it; then it still does its work a moment later, as a command on its way would.
   */
  async killServiceAt(nth: number, when: 'before' | 'after'): Promise<void> {
    const bin = join(this.dir, 'bin');
    await mkdir(bin, { recursive: true });
    await rm(join(this.dir, 'sprung'), { force: true });
    await writeFile(join(this.dir, 'count'), '0');
    await writeFile(join(this.dir, 'all'), '');
    for (const tool of ['virsh', 'qemu-nbd', 'qemu-img']) {
      const real = tool === 'virsh' ? this.#virsh : `/usr/bin/${tool}`;
      await writeFile(join(bin, tool), trap(this.dir, real, nth, when), { mode: 0o755 });
    }
  }

  /** How many commands that change the host `calls` make. */
  async changesOf(calls: () => Promise<void>): Promise<number> {
    return (await this.commandsOf(calls)).changes;
  }

  /** How many commands `calls` make in all, and how many of them change the host. */
  async commandsOf(calls: () => Promise<void>): Promise<{ all: number; changes: number }> {
    await this.killServiceAt(1_000, 'before');
    await calls();
    await this.disarm();
    const { length: all } = await readFile(join(this.dir, 'all'), 'utf8');
    return { all, changes: Number(await readFile(join(this.dir, 'count'), 'utf8')) };
  }

  /**
   * Puts a guest agent into every VM, as far as virsh can tell: it freezes, thaws, and notes both with what a capture finds. It
   * freezes only after `freezeSeconds`, and a capture takes `beginSeconds` more.
   */
  async installAgent(delays: { freezeSeconds?: number; beginSeconds?: number } = {}): Promise<void> {
    const dir = join(this.dir, 'agent');
    await mkdir(dir, { recursive: true });
    for (const name of ['frozen', 'log']) await rm(join(dir, name), { force: true });
    this.#virsh = join(dir, 'virsh');
    const { freezeSeconds = 0, beginSeconds = 0 } = delays;
    await writeFile(this.#virsh, agent(dir, freezeSeconds, beginSeconds), { mode: 0o755 });
  }

  async removeAgent(): Promise<void> {
    await rm(join(this.dir, 'agent'), { recursive: true, force: true });
    this.#virsh = '/usr/bin/virsh';
  }

  /** What the agent noted: `freeze`, `begin frozen`, `begin thawed`, `thaw`. */
  async agentLog(): Promise<string[]> {
    const log = await readFile(join(this.dir, 'agent/log'), 'utf8').catch(() => '');
    return log.split('\n').filter((line) => line !== '');
  }

  /** Freezes the guest as another program of the host would. */
  async freezeByOthers(): Promise<void> {
    await writeFile(join(this.dir, 'agent/frozen'), '');
  }

  async isGuestFrozen(): Promise<boolean> {
    return await access(join(this.dir, 'agent/frozen')).then(
      () => true,
      () => false,
    );
  }

  /** Kills the VM's QEMU, as a power cut of the host would; resolves when libvirt has seen it. */
  async killQemu(vm: TestVm): Promise<void> {
    for (const pid of await pidsOf((argv) => argv[argv.indexOf('-uuid') + 1] === vm.uuid)) {
      process.kill(pid, 'SIGKILL');
    }
    while ((await this.libvirt.state(vm.uuid)) !== 'shut-off') await delay(50);
  }

  /** From now on virsh refuses to talk to QEMU itself, and to stay for questions; `disarm` ends it. */
  async refuseMonitor(): Promise<void> {
    const bin = join(this.dir, 'bin');
    await mkdir(bin, { recursive: true });
    const refusal = `#!/bin/sh
[ $# -gt 3 ] || exit 1
case " $* " in *" qemu-monitor-command "*) echo 'error: access denied' >&2; exit 1 ;; esac
exec ${this.#virsh} "$@"
`;
    await writeFile(join(bin, 'virsh'), refusal, { mode: 0o755 });
    for (const pid of await pidsOf(
      (argv) => argv[0]?.endsWith('virsh') === true && argv.includes(this.#daemon.uri),
    ))
      process.kill(pid, 'SIGKILL');
  }

  async disarm(): Promise<void> {
    await rm(join(this.dir, 'bin'), { recursive: true, force: true });
  }

  /** Waits until the service is dead by the trap; false: the trap was not sprung within `patienceMs`. */
  async killedByTrap(patienceMs = 60_000): Promise<boolean> {
    for (let waitedMs = 0; waitedMs < patienceMs; waitedMs += 20) {
      const isSprung = await access(join(this.dir, 'sprung')).then(
        () => true,
        () => false,
      );
      if (isSprung && this.#service?.signalCode === 'SIGKILL') return true;
      await delay(20);
    }
    return false;
  }

  async createImage(
    name: string,
    size: string,
    format: 'qcow2' | 'raw',
    options: readonly string[] = [],
  ): Promise<string> {
    const path = join(this.vms, name);
    await run('qemu-img', ['create', '-q', '-f', format, ...options, path, size]);
    await this.giveToVms(path);
    return path;
  }

  /** Makes a file the property of the user of QEMU. */
  async giveToVms(path: string): Promise<void> {
    if (this.#daemon.runAs) await chown(path, this.#daemon.runAs.uid, this.#daemon.runAs.gid);
  }

  /** A VM without an operating system: its firmware idles for ever, and its disks are written through QEMU's monitor. */
  async defineVm(name: string, disks: readonly TestDisk[]): Promise<TestVm> {
    const uuid = randomUUID();
    const devices = disks.map(
      ({ target, path, format }) =>
        `<disk type='file' device='disk'><driver name='qemu' type='${format}'/>` +
        `<source file='${escapeXml(path)}'/><target dev='${target}' bus='virtio'/></disk>`,
    );
    await this.libvirt.define(
      `<domain type='qemu'><name>${escapeXml(name)}</name><uuid>${uuid}</uuid><memory unit='MiB'>32</memory>` +
        `<vcpu>1</vcpu><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>${devices.join('')}` +
        `<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>`,
    );
    return { uuid, name, disks };
  }

  /** Writes as the guest would: through the device, above the layer that keeps what a capture needs. */
  async guestWrite(
    vm: TestVm,
    target: string,
    pattern: number,
    offset: string,
    length: string,
  ): Promise<void> {
    const device = `/machine/peripheral/virtio-disk${String(target.charCodeAt(2) - 97)}/virtio-backend`;
    const command = `write -P ${String(pattern)} ${offset} ${length}`;
    const said = await this.libvirt.humanMonitorCommand(vm.uuid, `qemu-io -d ${device} "${command}"`);
    if (/error|fail/i.test(said)) throw new Error(said);
  }

  /** The whole content of an export, read by qemu-img: a client that shares no code with ours. */
  async readExport(disk: DiskExport): Promise<Buffer> {
    const path = join(this.dir, `copy-${randomUUID()}.raw`);
    try {
      await run('qemu-img', ['convert', '--image-opts', '-O', 'raw', imageOptions(disk), path]);
      return await readFile(path);
    } finally {
      await rm(path, { force: true });
    }
  }

  async writeExport(disk: DiskExport, content: Buffer): Promise<void> {
    const path = join(this.dir, `content-${randomUUID()}.raw`);
    await writeFile(path, content);
    const url = `nbd://${disk.host}:${String(disk.port)}/${disk.exportName}`;
    await run('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', path, url]);
    await rm(path);
  }

  /** The content of an image file that nobody uses. */
  async readImage(path: string, format: 'qcow2' | 'raw'): Promise<Buffer> {
    const copy = join(this.dir, `copy-${randomUUID()}.raw`);
    await run('qemu-img', ['convert', '-f', format, '-O', 'raw', path, copy]);
    const content = await readFile(copy);
    await rm(copy);
    return content;
  }

  /** Ranges that the export's dirty bitmap calls dirty, as nbdinfo reads them. */
  async dirtyRanges(disk: DiskExport): Promise<{ offset: number; length: number }[]> {
    const url = `nbd://${disk.host}:${String(disk.port)}/${disk.exportName}`;
    const { stdout } = await run('nbdinfo', [`--map=${disk.bitmapContext ?? ''}`, '--json', url]);
    const ranges = JSON.parse(stdout) as { offset: number; length: number; type: number }[];
    return ranges.filter(({ type }) => type === 1).map(({ offset, length }) => ({ offset, length }));
  }

  /** Names of the bitmaps in a qcow2 file. */
  async keptBitmaps(path: string): Promise<string[]> {
    const { stdout } = await run('qemu-img', ['info', '-U', '--output=json', path]);
    const info = JSON.parse(stdout) as { 'format-specific': { data: { bitmaps?: { name: string }[] } } };
    return (info['format-specific'].data.bitmaps ?? []).map(({ name }) => name);
  }

  /** Process ids of qemu-nbd processes that this host's service started. */
  async imageServers(): Promise<number[]> {
    return await pidsOf(
      (argv) => argv[0]?.endsWith('qemu-nbd') === true && argv.some((arg) => arg.includes(this.state)),
    );
  }

  /** Everything that openings leave on a host while they stand: nothing of it may be there when none does. */
  async remains(vms: readonly TestVm[]): Promise<string[]> {
    const found: string[] = [];
    for (const vm of vms) {
      for (const name of await this.libvirt.checkpointNames(vm.uuid)) found.push(`checkpoint ${name}`);
      if ((await this.libvirt.state(vm.uuid)) === 'shut-off') {
        for (const { path, format } of vm.disks) {
          if (format !== 'qcow2') continue;
          for (const name of await this.keptBitmaps(path)) found.push(`bitmap ${name} in ${path}`);
        }
        continue;
      }
      if ((await this.libvirt.backup(vm.uuid)) !== null) found.push(`backup job of ${vm.name}`);
    }
    for (const name of await readdir(this.scratch)) found.push(`scratch file ${name}`);
    for (const pid of await this.imageServers()) found.push(`qemu-nbd ${String(pid)}`);
    for (const name of await readdir(join(this.state, 'run'))) found.push(`run file ${name}`);
    return found;
  }

  /** Waits until nothing remains; returns what did when it did not come to that. */
  async remainsAfter(vms: readonly TestVm[], patienceMs = 60_000): Promise<string[]> {
    // Each look runs a program for every VM and disk.
    for (let waitedMs = 0; ; waitedMs += 500) {
      const found = await this.remains(vms);
      if (found.length === 0 || waitedMs >= patienceMs) return found;
      await delay(500);
    }
  }
}

const trap = (dir: string, real: string, nth: number, when: 'before' | 'after'): string => `#!/bin/sh
printf . >> ${dir}/all
case " $* " in
*" backup-begin "*|*" domjobabort "*|*" checkpoint-create "*|*" checkpoint-delete "*|*" --fork "*|*" bitmap "*|*" domfs"*) ;;
*) exec ${real} "$@" ;;
esac
n=$(($(cat ${dir}/count) + 1))
echo $n > ${dir}/count
[ $n = ${String(nth)} ] || exec ${real} "$@"
${when === 'after' ? `${real} "$@"; kill -9 $PPID; touch ${dir}/sprung` : `kill -9 $PPID; touch ${dir}/sprung; sleep 1; exec ${real} "$@"`}
`;

const agent = (dir: string, freezeSeconds: number, beginSeconds: number): string => `#!/bin/sh
cd ${dir}
case " $* " in
*" domfsfreeze "*)
  if [ -e frozen ]; then
    echo "error: internal error: unable to execute QEMU agent command 'guest-fsfreeze-freeze': Command guest-fsfreeze-freeze has been disabled: the agent is in frozen state" >&2
    exit 1
  fi
  sleep ${String(freezeSeconds)}; touch frozen; echo freeze >> log; echo 'Froze 1 filesystem(s)' ;;
*" domfsthaw "*) rm -f frozen; echo thaw >> log; echo 'Thawed 1 filesystem(s)' ;;
*" backup-begin "*)
  sleep ${String(beginSeconds)}
  if [ -e frozen ]; then echo begin frozen >> log; else echo begin thawed >> log; fi
  exec /usr/bin/virsh "$@" ;;
*) exec /usr/bin/virsh "$@" ;;
esac
`;

async function pidsOf(is: (argv: readonly string[]) => boolean): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const line = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    if (line !== '' && is(line.split('\0'))) found.push(Number(name));
  }
  return found;
}

const imageOptions = (disk: DiskExport): string =>
  `driver=nbd,server.type=inet,server.host=${disk.host},server.port=${String(disk.port)},export=${disk.exportName}`;
