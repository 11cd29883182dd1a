import {
  Fault,
  getChain,
  getPoint,
  getPool,
  getVm,
  listPoints,
  type Chain,
  type ChainId,
  type ContentPreview,
  type CreationTarget,
  type JobDefinition,
  type Point,
  type PointId,
  type RunChoice,
  type RunId,
  type Vm,
  type VmId,
} from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';
import { BackupContent } from './backup-content.js';
import { mapBounded, together } from './bounded.js';
import { copyItems } from './copy-content.js';
import { refuseSource } from './creation.rules.js';
import { requireLicence } from './licence-check.js';
import { atOnce, availablePoint, inField, requirePlatforms } from './references.js';
import { restoreItems } from './restore-check.js';
import { type NewItem } from './run-item.js';
import { verifyItems } from './verify-content.js';

type Backup = Extract<JobDefinition, { kind: 'backup' }>;
type Rollback = Extract<JobDefinition, { kind: 'rollback' }>;
type Creation = Extract<JobDefinition, { kind: 'creation' }>;

const wrongChoice = (field: string, rule: string): Fault =>
  new Fault('INPUT_INVALID', `${field}: ${rule}`, { details: { field } });

const isExtending = (
  { poolId, diskIds }: Backup,
  chain: Pick<Chain, 'vmId' | 'poolId' | 'diskIds'>,
): boolean => poolId === chain.poolId && String(diskIds?.toSorted()) === String(chain.diskIds?.toSorted());

const backupItem = (vm: Vm): NewItem => ({
  kind: 'backup',
  vmId: vm.id,
  vmName: vm.name,
  host: vm.hostId,
  pointId: null,
  target: null,
});

/** Asks the owners of what a definition names whether it is there, and makes the items of a run of it. */
export class DefinitionCheck {
  readonly #content: BackupContent;

  constructor(private readonly client: MessagingClient) {
    this.#content = new BackupContent(client);
  }

  /**
   * Throws what is wrong with the definition, with the field; `unavailable` when somebody can't be asked. `isStrict`: as it is
   * saved, so that also VMs and hosts of a backup that are gone are wrong.
   */
  async items(definition: JobDefinition, signal: AbortSignal, isStrict = true): Promise<NewItem[]> {
    switch (definition.kind) {
      case 'backup':
        return this.#backup(definition, isStrict, signal);
      case 'restore':
        return restoreItems(this.client, definition, signal);
      case 'rollback':
        return this.#rollback(definition, signal);
      case 'creation':
        return this.#creation(definition, signal);
      case 'verify':
        return verifyItems(this.client, definition, signal);
      case 'copy':
        await requireLicence(this.client, definition, signal);
        return copyItems(this.client, definition, signal);
    }
  }

  /** As `items`, for one run: with a chain to extend its VM alone, which must be one of the job's. */
  async itemsOfRun(definition: JobDefinition, choice: RunChoice, signal: AbortSignal): Promise<NewItem[]> {
    const { chainId, pointKind } = choice;
    if (chainId === undefined && pointKind === undefined) return this.items(definition, signal, false);
    if (definition.kind !== 'backup') throw wrongChoice('pointKind', 'only a backup makes points');
    if (chainId === undefined) return this.items(definition, signal, false);
    if (pointKind === 'full') throw wrongChoice('chainId', 'a full point opens a chain of its own');
    const chain = await inField('chainId', this.client.request(getChain, { chainId }, { signal }));
    const items = await this.items(definition, signal, false);
    const extending = items.filter(({ vmId }) => vmId === chain.vmId);
    if (extending.length === 0 || !isExtending(definition, chain))
      throw wrongChoice('chainId', `chain ${chainId} is not of a VM, the disks and the pool of this job`);
    return extending;
  }

  /** D1: what a run of this content would be made of now. */
  async preview(
    content: Parameters<BackupContent['preview']>[0],
    signal: AbortSignal,
  ): Promise<ContentPreview> {
    return this.#content.preview(content, signal);
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

  async #backup(definition: Backup, isStrict: boolean, signal: AbortSignal): Promise<NewItem[]> {
    const { poolId } = definition;
    await requireLicence(this.client, definition, signal);
    const [, items] = await together(
      inField('definition.poolId', this.client.request(getPool, { poolId }, { signal })),
      this.#content.items(definition, isStrict, signal),
    );
    return items;
  }

  async #vm(vmId: VmId, signal: AbortSignal, field: string): Promise<NewItem> {
    return backupItem(await inField(field, this.client.request(getVm, { vmId }, { signal })));
  }

  /** F9. The host, its storage pool and the VM that gets the disk are judged when it runs. */
  async #creation({ items }: Creation, signal: AbortSignal): Promise<NewItem[]> {
    const targets = items.map(({ target }) => target);
    await requirePlatforms(this.client, targets, signal);
    return mapBounded(items, atOnce, async ({ pointId, target }): Promise<NewItem> => {
      const { vmId, vmName } = await this.#sourceOf(pointId, target, signal);
      const host = target.hostId;
      return { kind: 'restore', vmId, vmName, host, pointId, target };
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
