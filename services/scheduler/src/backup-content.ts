import {
  Fault,
  getHost,
  getVms,
  listVms,
  type ContentPreview,
  type FaultJson,
  type HostId,
  type JobDefinition,
  type previewContent,
  type Vm,
  type VmId,
} from '@casvault/contracts';
import { type Messenger } from '@casvault/messaging';
import { type z } from 'zod';
import { mapBounded } from './bounded.js';
import { faultIn, inField } from './references.js';
import { type NewItem } from './run-item.js';

type Content = Pick<z.output<typeof previewContent.request>, 'vmIds' | 'hostIds' | 'excludedVmIds'>;
type DiskIds = Extract<JobDefinition, { kind: 'backup' }>['diskIds'];

/** What is gone by now. */
interface Gone {
  readonly vmId: VmId | null;
  readonly name: string;
  readonly fault: FaultJson;
}
type Found = { readonly vm: Vm } | { readonly gone: Gone };

/** Questions at the same time to inventory. */
const atOnce = 4;
/** VMs of one reply, so that it stays below the 1 MiB of a message. */
const pageSize = 100;
/** Items of one run: what its machine holds, about 100 bytes for each. */
const mostItems = 10_000;
/** As many as a run shows. */
const mostShown = 1_000;

const refuse = (field: string, rule: string): Fault =>
  new Fault('INPUT_INVALID', `definition.${field}: ${rule}`, { details: { field: `definition.${field}` } });

const refuseTwice = (field: keyof Content, ids: readonly string[]): void => {
  if (new Set(ids).size < ids.length) throw refuse(field, 'names one twice');
};

/** Of the VMs in their order every one once, without those left out. */
const chosenOf = (found: readonly Found[], excludedVmIds: readonly VmId[]): Found[] => {
  const taken = new Set<VmId>(excludedVmIds);
  return found.filter((one) => {
    if ('gone' in one) return true;
    if (taken.has(one.vm.id)) return false;
    taken.add(one.vm.id);
    return true;
  });
};

const itemOf = (found: Found): NewItem => {
  const common = { kind: 'backup', pointId: null, target: null } as const;
  if ('vm' in found) {
    const { id: vmId, name: vmName, hostId: host } = found.vm;
    return { ...common, vmId, vmName, host };
  }
  const { vmId, name: vmName, fault } = found.gone;
  return { ...common, vmId, vmName, host: null, fault };
};

const goneOf = (fault: Fault, id: string, vmId: VmId | null): Gone => {
  const { name } = fault.details;
  return { vmId, name: typeof name === 'string' ? name : id, fault: fault.toJSON() };
};

const previewOf = (found: readonly Found[]): ContentPreview => {
  const items = found
    .slice(0, mostShown)
    .map((one) =>
      'vm' in one
        ? { vmId: one.vm.id, vmName: one.vm.name, hostName: one.vm.hostName, fault: null }
        : { vmId: one.gone.vmId, vmName: one.gone.name, hostName: null, fault: one.gone.fault },
    );
  return { itemCount: found.length, items };
};

/**
 * D1: what a backup job protects now. A VM or host that is gone is an item that has failed already: it fails no other. Memory: the
 * VMs of one run, at most 10,000.
 */
export class BackupContent {
  constructor(private readonly client: Messenger) {}

  /** `isStrict`: what is gone is refused instead, with the field. INPUT_INVALID when it is too much for one run. */
  async items(
    content: Content & { diskIds?: DiskIds },
    isStrict: boolean,
    signal: AbortSignal,
  ): Promise<NewItem[]> {
    const found = await this.#resolve(content, signal);
    const refusal = isStrict ? refusalOf(content, found) : diskRefusal(content, found);
    if (refusal) throw Fault.fromJSON(refusal);
    return found.map(itemOf);
  }

  /** What a run would be made of now. */
  async preview(content: Content, signal: AbortSignal): Promise<ContentPreview> {
    return previewOf(await this.#resolve(content, signal));
  }

  /** The same, with why `items` would refuse it; null: it would not. What is wrong with the content itself is thrown. */
  async judge(
    content: Content & { diskIds?: DiskIds },
    signal: AbortSignal,
  ): Promise<{ content: ContentPreview; refusal: FaultJson | null }> {
    const found = await this.#resolve(content, signal);
    return { content: previewOf(found), refusal: refusalOf(content, found) };
  }

  async #resolve({ vmIds, hostIds, excludedVmIds }: Content, signal: AbortSignal): Promise<Found[]> {
    refuseTwice('vmIds', vmIds);
    refuseTwice('hostIds', hostIds);
    const found = await this.#named(vmIds, signal);
    for (const hostId of hostIds) {
      found.push(...(await this.#ofHost(hostId, signal)));
      if (found.length > mostItems + excludedVmIds.length)
        throw refuse('hostIds', `a run has at most ${mostItems} VMs, these hosts have more`);
    }
    const chosen = chosenOf(found, excludedVmIds);
    if (chosen.length > mostItems)
      throw refuse('hostIds', `a run has at most ${mostItems} VMs, this one has ${chosen.length}`);
    return chosen;
  }

  /** In their order. */
  async #named(vmIds: readonly VmId[], signal: AbortSignal): Promise<Found[]> {
    const slices: VmId[][] = [];
    for (let at = 0; at < vmIds.length; at += pageSize) slices.push(vmIds.slice(at, at + pageSize));
    const replies = await mapBounded(slices, atOnce, (slice) =>
      this.client.request(getVms, { vmIds: slice }, { signal }),
    );
    const found = new Map<VmId, Found>();
    for (const { vms, gone } of replies) {
      for (const vm of vms) found.set(vm.id, { vm });
      for (const { vmId, fault } of gone)
        found.set(vmId, { gone: goneOf(faultIn('definition.vmIds', Fault.fromJSON(fault)), vmId, vmId) });
    }
    return vmIds.map((id) => {
      const one = found.get(id);
      if (one) return one;
      throw new Fault('BUG', `inventory says nothing of VM ${id}`, { details: { vmId: id } });
    });
  }

  /** Null: it is there. */
  async #goneHost(hostId: HostId, signal: AbortSignal): Promise<Gone | null> {
    try {
      await inField('definition.hostIds', this.client.request(getHost, { hostId }, { signal }));
      return null;
    } catch (error) {
      const fault = Fault.from(error);
      if (fault.code !== 'NOT_FOUND') throw fault;
      return goneOf(fault, hostId, null);
    }
  }

  async #ofHost(hostId: HostId, signal: AbortSignal): Promise<Found[]> {
    const gone = await this.#goneHost(hostId, signal);
    if (gone) return [{ gone }];
    const found: Found[] = [];
    let cursor: string | null = null;
    do {
      const page: z.output<typeof listVms.reply> = await this.client.request(
        listVms,
        { hostId, limit: pageSize, ...(cursor === null ? {} : { cursor }) },
        { signal },
      );
      found.push(...page.items.map((vm) => ({ vm })));
      cursor = page.nextCursor;
    } while (cursor !== null);
    return found;
  }
}

/** D1: chosen disks are of one VM, which has them. Null: they are, or none are chosen. */
const diskRefusal = (
  { vmIds, hostIds, diskIds }: Content & { diskIds?: DiskIds },
  found: readonly Found[],
): FaultJson | null => {
  if (diskIds === undefined) return null;
  const refused = (rule: string): FaultJson => refuse('diskIds', rule).toJSON();
  if (hostIds.length > 0) return refused('names disks of one VM, the job has whole hosts');
  if (vmIds.length > 1) return refused(`names disks of one VM, the job has ${vmIds.length}`);
  for (const one of found) {
    if ('gone' in one) continue;
    const strange = diskIds.find((id) => !one.vm.disks.some((disk) => disk.id === id));
    if (strange !== undefined) return refused(`VM '${one.vm.name}' has no disk ${strange}`);
  }
  return null;
};

/** As a job is saved: what is gone is refused too. */
const refusalOf = (content: Content & { diskIds?: DiskIds }, found: readonly Found[]): FaultJson | null => {
  const lost = found.find((one) => 'gone' in one);
  return lost ? lost.gone.fault : diskRefusal(content, found);
};
