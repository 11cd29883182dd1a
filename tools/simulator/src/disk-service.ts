import {
  Fault,
  type Opening,
  type OpeningId,
  type OpenRequest,
  type RunItemId,
  type TransferId,
} from '@casvault/contracts';
import { type DiskService } from '@casvault/data-mover/machine';
import { type CheckpointsOptions, type EndedItemsOptions } from '@casvault/inventory/machine';
import {
  blockBytes,
  epoch,
  type ModelDisk,
  type ModelHost,
  type ModelPlatform,
  type ModelVm,
} from './platform.js';
import { type Content } from './pool.js';
import { type Edge, type SimProcess } from './process.js';
import { type World } from './world.js';

type HostCheckpoints = ReturnType<CheckpointsOptions['diskServices']['on']>;
type HostMemory = ReturnType<EndedItemsOptions['diskServices']['on']>;
type CaptureRequest = Extract<OpenRequest, { kind: 'capture' }>;

/** One disk of an opening: the frozen blocks of a capture, or the volume that is written. */
export interface OpenDisk {
  readonly target: string;
  readonly blocks: readonly Content[];
  readonly volume: ModelDisk | null;
  readonly dirty: ReadonlySet<number> | null;
}
interface Held {
  readonly opening: Opening;
  readonly transferId: TransferId | undefined;
  readonly host: ModelHost;
  readonly vm: ModelVm;
  readonly kind: 'capture' | 'volume';
  readonly disks: readonly OpenDisk[];
  readonly supersedes: readonly string[];
  leaseUntil: number;
  isLost: boolean;
}

/** What an opening showed, kept for the oracle for ever. */
export interface Captured {
  readonly openedAt: string;
  readonly disks: ReadonlyMap<string, readonly Content[]>;
}

const edge = (name: string): Edge => ({
  name,
  fault: 'platform',
  code: 'DISK_SERVICE_UNREACHABLE',
  timeoutMs: 1_000,
});

/** The disk services of all hosts: openings with leases, captures of one instant, checkpoints, volumes that one may write. */
export class DiskServices {
  readonly held = new Map<string, Held>();
  /** By VM: every instant that was ever captured. */
  readonly captured = new Map<string, Captured[]>();
  /** What each host was told, by its address. */
  readonly #ended = new Map<string, Map<RunItemId, string>>();
  readonly #world: World;
  readonly #platform: ModelPlatform;

  constructor(world: World, platform: ModelPlatform) {
    this.#world = world;
    this.#platform = platform;
  }

  /** The service of the host with this address, as a process reaches it. */
  clientFor(process: SimProcess, url: string): DiskService {
    const { host, reach } = this.#reach(process, url);
    return {
      open: (id, request) => reach('open', () => this.#open(process, host, id, request)),
      get: (id) => reach('get', () => this.#present(id).opening),
      renew: (id, leaseSeconds) =>
        reach('renew', () => {
          const held = this.#present(id);
          held.leaseUntil = this.#world.time.now + leaseSeconds * 1_000;
          return held.opening;
        }),
      close: (id, options) =>
        reach('close', () =>
          this.#close(id, (options as { keepCheckpoint?: boolean }).keepCheckpoint === true),
        ),
    };
  }

  /** As inventory asks for this product's checkpoints. */
  checkpointsOn(process: SimProcess, ip: string): HostCheckpoints {
    const { host, reach } = this.#reach(process, `//${ip}:`);
    const vmOf = (uuid: string) => this.#platform.vms.find((vm) => vm.uuid === uuid && vm.host === host);
    return {
      checkpoints: (uuid) =>
        reach('checkpoints', () => {
          const disks = vmOf(uuid)?.disks ?? [];
          const all = disks.flatMap(({ target, bitmaps }) =>
            [...bitmaps.keys()].map((name) => ({ name, target })),
          );
          return [...new Set(all.map(({ name }) => name))].map((name) => ({
            name,
            madeBy: null,
            createdAt: new Date(epoch).toISOString(),
            targets: all.filter((one) => one.name === name).map(({ target }) => target),
          }));
        }),
      removeCheckpoint: (uuid, name) =>
        reach('remove checkpoint', () => {
          for (const disk of vmOf(uuid)?.disks ?? []) disk.bitmaps.delete(name);
        }),
    };
  }

  /** As inventory tells and asks which items are over. */
  endedOn(process: SimProcess, ip: string): HostMemory {
    const { host, reach } = this.#reach(process, `//${ip}:`);
    return {
      endItem: (itemId) =>
        reach('end item', () => {
          const ended = this.#endedAt(host);
          if (!ended.has(itemId)) ended.set(itemId, this.#instant(host));
        }),
      endedItem: (itemId) =>
        reach('ended item', () => ({ itemId, endedAt: this.#endedAt(host).get(itemId) ?? null })),
    };
  }

  #endedAt({ ip }: ModelHost): Map<RunItemId, string> {
    const known = this.#ended.get(ip) ?? new Map<RunItemId, string>();
    this.#ended.set(ip, known);
    return known;
  }

  #reach(process: SimProcess, url: string) {
    const host = this.#platform.hosts.find(({ ip }) => url.includes(`//${ip}:`));
    if (!host) throw new Fault('BUG', `no host at ${url}`);
    const reach = <T>(name: string, deed: () => T): Promise<T> =>
      process.call(edge(`disk service: ${name}`), () => {
        this.#expire();
        if (host.awayUntil > this.#world.time.now)
          throw new Fault('DISK_SERVICE_UNREACHABLE', `${host.name} does not answer`);
        return deed();
      });
    return { host, reach };
  }

  /** The disk as a connection sees it; throws NBD_DISCONNECTED when the opening is gone or its host away. */
  connect(id: string, target: string): OpenDisk {
    this.#expire();
    const held = this.held.get(id);
    const disk = held?.disks.find((one) => one.target === target);
    if (!held || held.isLost || !disk || held.host.awayUntil > this.#world.time.now)
      throw new Fault('NBD_DISCONNECTED', `the export of ${target} broke off`);
    return disk;
  }

  /** The VM's guest stopped, or somebody ended the job: live captures of it are lost. */
  loseCaptures(vm: ModelVm): void {
    for (const held of this.held.values())
      if (held.vm === vm && held.opening.method === 'live') held.isLost = true;
  }

  isOpen(vm: ModelVm): boolean {
    this.#expire();
    return [...this.held.values()].some((held) => held.vm === vm && held.opening.method !== 'live');
  }

  /** Openings that are there by now. */
  get openings(): readonly Held[] {
    this.#expire();
    return [...this.held.values()];
  }

  #expire(): void {
    for (const [id, held] of this.held)
      if (held.leaseUntil <= this.#world.time.now) {
        this.#world.trace(held.host.name, `opening ${id} ends with its lease`);
        this.#close(id, false);
      }
  }

  #present(id: string): Held {
    const held = this.held.get(id);
    if (!held) throw new Fault('NOT_FOUND', `there is no opening ${id}`);
    if (held.isLost) throw new Fault('CAPTURE_LOST', `the capture ${id} is gone`);
    return held;
  }

  #open(process: SimProcess, host: ModelHost, id: OpeningId, request: OpenRequest): Opening {
    const present = this.held.get(id);
    if (present) {
      this.#present(id);
      present.leaseUntil = this.#world.time.now + request.leaseSeconds * 1_000;
      return present.opening;
    }
    const held =
      request.kind === 'capture' ? this.#capture(host, id, request) : this.#volume(host, id, request);
    this.#world.trace(
      process.name,
      `opens ${request.kind} ${id} of ${held.vm.name} at ${held.opening.openedAt}`,
    );
    this.held.set(id, held);
    return held.opening;
  }

  #capture(host: ModelHost, id: OpeningId, request: CaptureRequest): Held {
    const vm = this.#platform.byUuid(request.vm.uuid);
    if (vm?.host !== host) throw new Fault('DISK_SERVICE_REFUSED', 'no such VM here');
    this.#refuseHeld((held) => held.vm === vm, `VM ${vm.name}`);
    const snapshot = request.snapshot && vm.snapshots.find(({ name }) => name === request.snapshot?.name);
    if (request.snapshot && !snapshot) throw new Fault('DISK_SERVICE_REFUSED', 'no such snapshot');
    if (!snapshot && vm.power === 'running' && !host.exportsLive)
      throw new Fault('CAPTURE_REFUSED', `VM ${vm.name} is running, and this host offers no live export`);
    const openedAt = snapshot?.takenAt ?? this.#instant(host);
    const disks = request.disks.map(({ target, path, incrementalFrom }): OpenDisk => {
      const disk = vm.disks.find((one) => one.target === target);
      if (!disk) throw new Fault('DISK_SERVICE_REFUSED', `VM ${vm.name} has no disk ${target}`);
      if (snapshot && snapshot.paths.get(target) !== path)
        throw new Fault('CAPTURE_REFUSED', `disk ${target} has no such layer ${path}`);
      const blocks = snapshot?.disks.get(target) ?? [...disk.blocks];
      // Of a snapshot's instant there is no bitmap: QEMU goes on counting in those that there are.
      const isAsked = incrementalFrom !== undefined && !snapshot;
      const bitmap = isAsked ? disk.bitmaps.get(incrementalFrom) : undefined;
      return { target, blocks, volume: null, dirty: bitmap ? new Set(bitmap.dirty) : null };
    });
    this.#checkpoint(vm, id, request);
    const frozen = { openedAt, disks: new Map(disks.map(({ target, blocks }) => [target, blocks])) };
    this.captured.set(vm.uuid, [...(this.captured.get(vm.uuid) ?? []), frozen]);
    const method = methodOf(vm, snapshot?.kind);
    const exports = disks.map((disk) => this.#exportOf(vm, disk, request));
    return this.#hold({ host, vm, disks, request, id, openedAt, method, exports });
  }

  #checkpoint(vm: ModelVm, id: OpeningId, { checkpoint, disks, snapshot }: CaptureRequest): void {
    if (checkpoint === undefined || snapshot) return;
    const { faults } = this.#world;
    for (const { target, untracked } of disks) {
      const disk = vm.disks.find((one) => one.target === target);
      if (!disk || untracked || disk.format === 'raw') continue;
      disk.bitmaps.set(checkpoint, { dirty: new Set(), madeBy: id, lies: faults.strikes('lying trackers') });
    }
  }

  #exportOf(
    vm: ModelVm,
    { target, dirty, blocks }: OpenDisk,
    { disks, checkpoint, snapshot }: CaptureRequest,
  ) {
    const asked = disks.find((one) => one.target === target);
    const from = asked?.incrementalFrom;
    const disk = vm.disks.find((one) => one.target === target);
    return {
      target,
      host: vm.host.ip,
      port: 10_809,
      exportName: target,
      tls: false,
      sizeBytes: blocks.length * blockBytes,
      format: disk?.format ?? 'qcow2',
      writable: false,
      bitmapContext: dirty ? `qemu:dirty-bitmap:${from}` : null,
      bitmapReason:
        from !== undefined && !dirty
          ? snapshot
            ? ('BITMAP_UNAVAILABLE' as const)
            : ('BITMAP_MISSING' as const)
          : null,
      bitmapMadeBy: (from !== undefined && (disk?.bitmaps.get(from)?.madeBy as OpeningId)) || null,
      checkpointed: disk?.bitmaps.has(checkpoint ?? '') === true,
      generation: `${vm.uuid}.${vm.generation}`,
    };
  }

  #volume(host: ModelHost, id: OpeningId, request: Extract<OpenRequest, { kind: 'volume' }>): Held {
    const { itemId } = request;
    if (itemId !== undefined && this.#endedAt(host).has(itemId))
      throw new Fault('ITEM_ENDED', `item ${itemId} has ended`);
    const found = this.#platform.diskAt(request.path);
    if (found?.vm.host !== host) throw new Fault('DISK_SERVICE_REFUSED', `no volume ${request.path} here`);
    const { vm, disk } = found;
    if (vm.power === 'running')
      throw new Fault('DISK_SERVICE_REFUSED', `VM ${vm.name} has the volume in use`);
    this.#refuseHeld((held) => held.disks.some(({ volume }) => volume === disk), request.path);
    const disks: OpenDisk[] = [{ target: 'volume', blocks: disk.blocks, volume: disk, dirty: null }];
    const sizeBytes = disk.blocks.length * blockBytes;
    const one = {
      target: 'volume',
      host: host.ip,
      port: 10_809,
      exportName: 'volume',
      tls: false,
      sizeBytes,
      format: request.format,
      writable: true,
      bitmapContext: null,
      bitmapReason: null,
      bitmapMadeBy: null,
      checkpointed: false,
      generation: '',
    };
    const openedAt = this.#instant(host);
    return this.#hold({ host, vm, disks, request, id, openedAt, method: 'write', exports: [one] });
  }

  #hold(parts: {
    host: ModelHost;
    vm: ModelVm;
    disks: readonly OpenDisk[];
    request: OpenRequest;
    id: OpeningId;
    openedAt: string;
    method: Opening['method'];
    exports: Opening['disks'];
  }): Held {
    const { host, vm, disks, request, id, openedAt, method, exports } = parts;
    const leaseUntil = this.#world.time.now + request.leaseSeconds * 1_000;
    const opening: Opening = {
      openingId: id,
      kind: request.kind,
      method,
      consistency: 'crash',
      reasons: [],
      openedAt,
      leaseUntil: new Date(epoch + leaseUntil).toISOString(),
      checkpoint: request.kind === 'capture' ? (request.checkpoint ?? null) : null,
      disks: exports,
    };
    const supersedes = request.kind === 'capture' ? (request.supersedes ?? []) : [];
    const { kind, transferId } = request;
    return { opening, transferId, host, vm, kind, disks, supersedes, leaseUntil, isLost: false };
  }

  #refuseHeld(isInTheWay: (held: Held) => boolean, what: string): void {
    for (const [holder, held] of this.held)
      if (isInTheWay(held))
        throw new Fault('DISK_SERVICE_REFUSED', `${what} is held by opening ${holder}`, {
          details: {
            openingId: holder,
            ...(held.transferId === undefined ? {} : { transferId: held.transferId }),
          },
        });
  }

  /** The host's own clock; two instants of one host are never the same. */
  #instant(host: ModelHost): string {
    return new Date(epoch + Math.floor(this.#world.time.now) + host.aheadMs).toISOString();
  }

  #close(id: string, keepCheckpoint: boolean): void {
    const held = this.held.get(id);
    if (!held) return;
    this.held.delete(id);
    const { checkpoint } = held.opening;
    const gone = keepCheckpoint ? held.supersedes : checkpoint === null ? [] : [checkpoint];
    for (const disk of held.vm.disks) for (const name of gone) disk.bitmaps.delete(name);
  }
}

const methodOf = (vm: ModelVm, kind: 'internal' | 'external' | undefined) => {
  if (kind === 'internal') return 'internal-snapshot' as const;
  if (kind === 'external') return 'external-snapshot' as const;
  return vm.power === 'running' ? ('live' as const) : ('offline' as const);
};
