import { rm } from 'node:fs/promises';
import { Fault } from '@casvault/contracts';
import { escapeXml } from '@casvault/libvirt';
import { XMLParser } from 'fast-xml-parser';
import { z } from 'zod';
import { imageInfo, imageSnapshots } from '../host/disk-images.js';
import { runCommand } from '../process/run-command.js';
import { type DiskFacts } from './domain-facts.js';
import { changePath } from './hardware.js';
import { type Machines } from './machines.js';
import { type SnapshotRecord, type StateFile, type VmRecord } from './state.js';

/** `memory`: inside the images with the guest's memory, libvirt's own. `internal`: inside the images, disks alone. */
export type SnapshotKind = SnapshotRecord['kind'];

export interface SnapshotPlan {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly kind: SnapshotKind;
}

/** A snapshot with its place in the tree. */
export interface SnapshotNode extends SnapshotPlan {
  readonly parent: string | null;
  readonly createdAt: Date;
}

const parser = new XMLParser({ parseTagValue: false });
const documentSchema = z.object({
  domainsnapshot: z.object({
    name: z.string(),
    creationTime: z.string(),
    parent: z.object({ name: z.string() }).optional(),
  }),
});
const blockSchema = z.array(
  z.object({ inserted: z.object({ file: z.string(), 'node-name': z.string() }).optional() }),
);

const refuse = (why: string): Fault => new Fault('CONFLICT', why);

/**
 * Snapshots of machines in three kinds. libvirt keeps those with memory; of the others, which libvirt can't take or can't take
 * back, the lab keeps the record: QEMU takes the internal ones of all disks in one transaction, and libvirt the external ones
 * as new layers over the dependent disks (R4), which the lab merges back.
 */
export class Snapshots {
  constructor(
    private readonly machines: Machines,
    private readonly file: StateFile,
    private readonly clock: () => Date,
  ) {}

  /** All of a machine, oldest first. */
  async list(vm: VmRecord): Promise<SnapshotNode[]> {
    const { libvirt } = this.machines.host(vm.hostId);
    const found: SnapshotNode[] = vm.snapshots
      .filter((one) => one.kind !== 'memory')
      .map((one) => ({ ...one, createdAt: new Date(one.createdAt) }));
    for (const name of await libvirt.snapshotNames(vm.uuid)) {
      const xml: unknown = parser.parse(await libvirt.snapshotXml(vm.uuid, name));
      const { domainsnapshot } = documentSchema.parse(xml);
      const record = vm.snapshots.find((one) => one.name === name);
      found.push({
        name,
        title: record?.title ?? name,
        description: record?.description ?? '',
        kind: 'memory',
        parent: domainsnapshot.parent?.name ?? null,
        createdAt: new Date(Number(domainsnapshot.creationTime) * 1000),
      });
    }
    return found.toSorted((a, b) => a.createdAt.getTime() - b.createdAt.getTime());
  }

  /** Throws ALREADY_EXISTS, and CONFLICT for what a machine's disks can't do. */
  async create(vm: VmRecord, plan: SnapshotPlan): Promise<void> {
    const all = await this.list(vm);
    if (all.some((one) => one.name === plan.name))
      throw new Fault('ALREADY_EXISTS', `${vm.name} has a snapshot ${plan.name}`);
    const { disks } = await this.machines.facts(vm);
    const own = disks.filter((disk) => disk.device === 'disk');
    if (own.some((disk) => disk.encrypted)) throw refuse('encrypted disks take no snapshot (R2)');
    const createdAt = this.clock().toISOString();
    const layers = await this.take(vm, plan, own);
    const parent = plan.kind === 'memory' ? null : (all.at(-1)?.name ?? null);
    vm.snapshots.push({ ...plan, parent, createdAt, layers });
    await this.file.save();
  }

  /** Throws NOT_FOUND. Of an external one the layer is merged into the one below, while the machine runs too. */
  async delete(vm: VmRecord, name: string): Promise<void> {
    const record = vm.snapshots.find((one) => one.name === name);
    const { libvirt } = this.machines.host(vm.hostId);
    if (record === undefined || record.kind === 'memory') await libvirt.snapshotDelete(vm.uuid, name);
    else if (record.kind === 'internal') await this.dropInternal(vm, name);
    else for (const layer of record.layers) await this.merge(vm, layer);
    vm.snapshots = vm.snapshots
      .filter((one) => one.name !== name)
      .map((one) => (one.parent === name ? { ...one, parent: record?.parent ?? null } : one));
    await this.file.save();
  }

  /** One with memory at any time, an internal one of a machine that is shut off. */
  async revert(vm: VmRecord, name: string): Promise<void> {
    const record = vm.snapshots.find((one) => one.name === name);
    if (record === undefined || record.kind === 'memory') {
      await this.machines.host(vm.hostId).libvirt.snapshotRevert(vm.uuid, name);
      return;
    }
    if (record.kind === 'external') throw refuse('the lab reverts to no external snapshot');
    if ((await this.machines.powerState(vm)) !== 'shutOff')
      throw refuse('only a machine that is shut off goes back to a snapshot without memory');
    for (const disk of await this.holding(vm, name))
      await this.image(vm, ['snapshot', '-a', name, disk.path]);
  }

  private async take(
    vm: VmRecord,
    plan: SnapshotPlan,
    disks: readonly DiskFacts[],
  ): Promise<SnapshotRecord['layers']> {
    if (plan.kind === 'external') return this.takeExternal(vm, plan.name, disks);
    if (disks.some((disk) => disk.format !== 'qcow2'))
      throw refuse('raw disks take no internal snapshot (R1)');
    if (plan.kind === 'memory') {
      const xml = `<domainsnapshot><name>${escapeXml(plan.name)}</name></domainsnapshot>`;
      await this.machines.host(vm.hostId).libvirt.snapshotCreate(vm.uuid, xml);
    } else if ((await this.machines.powerState(vm)) === 'shutOff') {
      for (const disk of disks) await this.image(vm, ['snapshot', '-c', plan.name, disk.path]);
    } else {
      const nodes = await this.nodes(vm);
      const actions = disks.map(({ path }) => ({
        type: 'blockdev-snapshot-internal-sync',
        data: { device: nodes.get(path) ?? '', name: plan.name },
      }));
      await this.machines
        .host(vm.hostId)
        .libvirt.qemuMonitorCommand(vm.uuid, { execute: 'transaction', arguments: { actions } });
    }
    return [];
  }

  private async takeExternal(
    vm: VmRecord,
    name: string,
    disks: readonly DiskFacts[],
  ): Promise<SnapshotRecord['layers']> {
    const taken = disks.filter((disk) => !vm.independent.includes(disk.target));
    if (taken.length === 0) throw refuse('no disk is in dependent mode (R4)');
    for (const disk of taken) {
      if (disk.type === 'block') throw refuse('block devices take no external snapshot (R3)');
      if ((await imageSnapshots(disk.path)).length > 0)
        throw refuse(`the image of ${disk.target} holds internal snapshots`);
    }
    const layers = taken.map(({ target, path }) => ({ target, base: path, overlay: `${path}.${name}` }));
    const rows = disks.map(({ target }) => {
      const layer = layers.find((one) => one.target === target);
      return layer === undefined
        ? `<disk name='${target}' snapshot='no'/>`
        : `<disk name='${target}' snapshot='external'><driver type='qcow2'/><source file='${escapeXml(layer.overlay)}'/></disk>`;
    });
    const xml = `<domainsnapshot><name>${escapeXml(name)}</name><disks>${rows.join('')}</disks></domainsnapshot>`;
    const options = { diskOnly: true, noMetadata: true };
    await this.machines.host(vm.hostId).libvirt.snapshotCreate(vm.uuid, xml, options);
    return layers;
  }

  private async dropInternal(vm: VmRecord, name: string): Promise<void> {
    const isOff = (await this.machines.powerState(vm)) === 'shutOff';
    const nodes = isOff ? new Map<string, string>() : await this.nodes(vm);
    for (const disk of await this.holding(vm, name)) {
      if (isOff) await this.image(vm, ['snapshot', '-d', name, disk.path]);
      else
        await this.machines.host(vm.hostId).libvirt.qemuMonitorCommand(vm.uuid, {
          execute: 'blockdev-snapshot-delete-internal-sync',
          arguments: { device: nodes.get(disk.path) ?? '', name },
        });
    }
  }

  /** Disks whose present image holds an internal snapshot of this name. */
  private async holding(vm: VmRecord, name: string): Promise<DiskFacts[]> {
    const found: DiskFacts[] = [];
    for (const disk of (await this.machines.facts(vm)).disks)
      if (disk.device === 'disk' && (await imageSnapshots(disk.path)).includes(name)) found.push(disk);
    return found;
  }

  /** What is in the layer goes into its base; whatever stood on the layer stands on the base then. */
  private async merge(vm: VmRecord, layer: SnapshotRecord['layers'][number]): Promise<void> {
    const { target, base, overlay } = layer;
    const { disks } = await this.machines.facts(vm);
    const disk = disks.find((one) => one.target === target);
    if (disk === undefined || disk.path === base) return;
    if ((await imageSnapshots(overlay)).length > 0)
      throw refuse(`the layer of ${target} holds internal snapshots: they would be lost`);
    const above = vm.snapshots.flatMap((one) => one.layers).find((one) => one.base === overlay);
    if ((await this.machines.powerState(vm)) === 'shutOff') {
      await this.image(vm, ['commit', '-q', '-d', '-b', base, overlay]);
      if (above === undefined) await changePath(this.machines, vm, overlay, base);
      else {
        const { format } = await imageInfo(base);
        await this.image(vm, ['rebase', '-u', '-b', base, '-F', format, above.overlay]);
      }
    } else {
      const how = above === undefined ? ['--active', '--pivot'] : [];
      const args = ['blockcommit', vm.uuid, target, '--base', base, '--top', overlay, '--wait', ...how];
      await this.machines.host(vm.hostId).libvirt.run(args, { timeoutMs: 600_000 });
    }
    if (above !== undefined) above.base = base;
    await rm(overlay, { force: true });
  }

  /** QEMU's names of the nodes in which guests see their disks, by path. */
  private async nodes(vm: VmRecord): Promise<Map<string, string>> {
    const { libvirt } = this.machines.host(vm.hostId);
    const reply = await libvirt.qemuMonitorCommand(vm.uuid, { execute: 'query-block' });
    const rows = blockSchema.parse(reply);
    return new Map(
      rows.flatMap(({ inserted }) => (inserted ? [[inserted.file, inserted['node-name']] as const] : [])),
    );
  }

  private async image(vm: VmRecord, args: readonly string[]): Promise<void> {
    const { user } = this.machines.host(vm.hostId);
    await runCommand('qemu-img', args, { user, timeoutMs: 600_000 });
  }
}
