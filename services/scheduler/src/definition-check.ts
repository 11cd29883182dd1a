import {
  Fault,
  getChain,
  getPoint,
  getPool,
  getVm,
  listPoints,
  newId,
  type Chain,
  type ChainId,
  type CreationTarget,
  type JobDefinition,
  type Point,
  type PointId,
  type RunChoice,
  type RunId,
  type RunItemId,
  type Vm,
  type VmId,
} from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';
import { mapBounded } from './bounded.js';
import { refuseSource } from './creation.rules.js';
import { atOnce, availablePoint, inField, requirePlatforms } from './references.js';
import { restoreItems } from './restore-check.js';
import { type NewItem } from './run-item.js';

type Backup = Extract<JobDefinition, { kind: 'backup' }>;
type Rollback = Extract<JobDefinition, { kind: 'rollback' }>;
type Creation = Extract<JobDefinition, { kind: 'creation' }>;

const wrongDisks = (rule: string): Fault =>
  new Fault('INPUT_INVALID', `definition.diskIds: ${rule}`, { details: { field: 'definition.diskIds' } });

const wrongChoice = (field: string, rule: string): Fault =>
  new Fault('INPUT_INVALID', `${field}: ${rule}`, { details: { field } });

const isExtending = (
  { vmIds, poolId, diskIds }: Backup,
  chain: Pick<Chain, 'vmId' | 'poolId' | 'diskIds'>,
): boolean =>
  vmIds.includes(chain.vmId) &&
  poolId === chain.poolId &&
  String(diskIds?.toSorted()) === String(chain.diskIds?.toSorted());

const backupItem = (vm: Vm): NewItem => ({
  id: newId<RunItemId>(),
  kind: 'backup',
  vmId: vm.id,
  vmName: vm.name,
  host: vm.hostId,
  pointId: null,
  target: null,
});

/** Asks the owners of what a definition names whether it is there, and makes the items of a run of it. */
export class DefinitionCheck {
  constructor(private readonly client: MessagingClient) {}

  /** Throws what is wrong with the definition, with the field; `unavailable` when somebody can't be asked. */
  async items(definition: JobDefinition, signal: AbortSignal): Promise<NewItem[]> {
    switch (definition.kind) {
      case 'backup':
        return this.#backup(definition, signal);
      case 'restore':
        return restoreItems(this.client, definition, signal);
      case 'rollback':
        return this.#rollback(definition, signal);
      case 'creation':
        return this.#creation(definition, signal);
    }
  }

  /** As `items`, for one run: with a chain to extend its VM alone, which must be one of the job's. */
  async itemsOfRun(definition: JobDefinition, choice: RunChoice, signal: AbortSignal): Promise<NewItem[]> {
    const { chainId, pointKind } = choice;
    if (chainId === undefined && pointKind === undefined) return this.items(definition, signal);
    if (definition.kind !== 'backup') throw wrongChoice('pointKind', 'only a backup makes points');
    if (chainId === undefined) return this.items(definition, signal);
    if (pointKind === 'full') throw wrongChoice('chainId', 'a full point opens a chain of its own');
    const chain = await inField('chainId', this.client.request(getChain, { chainId }, { signal }));
    if (!isExtending(definition, chain))
      throw wrongChoice('chainId', `chain ${chainId} is not of a VM, the disks and the pool of this job`);
    return this.items({ ...definition, vmIds: [chain.vmId] }, signal);
  }

  /** The run that made the newest available point of a chain. */
  async newestRunOf(chainId: ChainId, signal: AbortSignal): Promise<RunId> {
    const { items } = await this.client.request(
      listPoints,
      { chainId, state: 'available', limit: 1 },
      { signal },
    );
    const [newest] = items;
    if (newest) return newest.runId;
    throw new Fault('CONFLICT', `chain ${chainId} has no available point to stand on`, {
      details: { chainId },
    });
  }

  async #backup({ poolId, vmIds, diskIds }: Backup, signal: AbortSignal): Promise<NewItem[]> {
    await inField('definition.poolId', this.client.request(getPool, { poolId }, { signal }));
    if (new Set(vmIds).size < vmIds.length)
      throw new Fault('INPUT_INVALID', 'definition.vmIds: names a VM twice', {
        details: { field: 'definition.vmIds' },
      });
    if (diskIds && vmIds.length > 1) throw wrongDisks(`names disks of one VM, the job has ${vmIds.length}`);
    return mapBounded(vmIds, atOnce, (vmId) => this.#chosen(vmId, diskIds, signal));
  }

  async #vm(vmId: VmId, signal: AbortSignal, field = 'definition.vmIds'): Promise<NewItem> {
    return backupItem(await inField(field, this.client.request(getVm, { vmId }, { signal })));
  }

  async #chosen(vmId: VmId, diskIds: Backup['diskIds'], signal: AbortSignal): Promise<NewItem> {
    const vm = await inField('definition.vmIds', this.client.request(getVm, { vmId }, { signal }));
    const strange = diskIds?.find((id) => !vm.disks.some((disk) => disk.id === id));
    if (strange !== undefined) throw wrongDisks(`VM '${vm.name}' has no disk ${strange}`);
    return backupItem(vm);
  }

  /** F9. The host, its storage pool and the VM that gets the disk are judged when it runs. */
  async #creation({ items }: Creation, signal: AbortSignal): Promise<NewItem[]> {
    const targets = items.map(({ target }) => target);
    await requirePlatforms(this.client, targets, signal);
    return mapBounded(items, atOnce, async ({ pointId, target }): Promise<NewItem> => {
      const { vmId, vmName } = await this.#sourceOf(pointId, target, signal);
      const host = target.hostId;
      return { id: newId<RunItemId>(), kind: 'restore', vmId, vmName, host, pointId, target };
    });
  }

  /** The point, once it is sure that it holds what is made of it. */
  async #sourceOf(pointId: PointId, target: CreationTarget, signal: AbortSignal): Promise<Point> {
    const point = await this.#available(pointId, signal);
    const refusal = refuseSource(point, target);
    if (refusal) throw refusal;
    if (target.kind === 'disk' && target.attachTo !== null)
      await this.#vm(target.attachTo, signal, 'definition.items.target.attachTo');
    return point;
  }

  /** F8. On the host where the VM is now; its disks are judged when it runs. */
  async #rollback({ items }: Rollback, signal: AbortSignal): Promise<NewItem[]> {
    const rolled = await mapBounded(items, atOnce, async ({ pointId, target }): Promise<NewItem> => {
      const point = await this.#available(pointId, signal);
      const vm = await this.#vm(point.vmId, signal, 'definition.items.pointId');
      return { ...vm, kind: 'rollback', pointId, target };
    });
    if (new Set(rolled.map(({ vmId }) => vmId)).size < rolled.length)
      throw new Fault('INPUT_INVALID', 'definition.items: names a VM twice', {
        details: { field: 'definition.items' },
      });
    return rolled;
  }

  /** The name of the roll-back's job, once `confirm` names the VM that it overwrites. */
  async confirmedRollback(pointId: PointId, confirm: string, signal: AbortSignal): Promise<string> {
    const point = await this.client.request(getPoint, { pointId }, { signal });
    const { name } = await this.client.request(getVm, { vmId: point.vmId }, { signal });
    if (confirm !== name)
      throw new Fault('INPUT_INVALID', `confirm: must be '${name}', the name of the VM that is overwritten`, {
        details: { field: 'confirm' },
      });
    return `${name} back to ${point.capturedAt ?? point.createdAt}`.slice(0, 128);
  }

  /** The name of the job that creates something from a point. */
  async creationName(pointId: PointId, target: CreationTarget, signal: AbortSignal): Promise<string> {
    const { vmName, capturedAt, createdAt } = await this.client.request(getPoint, { pointId }, { signal });
    const what = target.kind === 'disk' ? `disk ${target.target}` : `image ${target.name}`;
    return `${what} of ${vmName} at ${capturedAt ?? createdAt}`.slice(0, 128);
  }

  #available(pointId: PointId, signal: AbortSignal): Promise<Point> {
    return availablePoint(this.client, { pointId, field: 'definition.items.pointId' }, signal);
  }
}
