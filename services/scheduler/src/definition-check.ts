import {
  Fault,
  getPlatform,
  getPoint,
  getPool,
  getVm,
  newId,
  type JobDefinition,
  type RunItemId,
  type VmId,
} from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';
import { mapBounded } from './bounded.js';
import { type NewItem } from './run-item.js';

type Backup = Extract<JobDefinition, { kind: 'backup' }>;
type Restore = Extract<JobDefinition, { kind: 'restore' }>;

/** Questions at the same time to one service. */
const atOnce = 16;

/** Names the field of the definition to which a fault of another service belongs. */
const inField = async <T>(field: string, work: Promise<T>): Promise<T> => {
  try {
    return await work;
  } catch (error) {
    const fault = Fault.from(error);
    if (fault.kind !== 'user' && fault.kind !== 'conflict') throw fault;
    throw new Fault(fault.code, `${field}: ${fault.message}`, { details: { ...fault.details, field } });
  }
};

/** Asks the owners of what a definition names whether it is there, and makes the items of a run of it. */
export class DefinitionCheck {
  constructor(private readonly client: MessagingClient) {}

  /** Throws what is wrong with the definition, with the field; `unavailable` when somebody can't be asked. */
  async items(definition: JobDefinition, signal: AbortSignal): Promise<NewItem[]> {
    return definition.kind === 'backup'
      ? this.#backup(definition, signal)
      : this.#restore(definition, signal);
  }

  async #backup({ poolId, vmIds }: Backup, signal: AbortSignal): Promise<NewItem[]> {
    await inField('definition.poolId', this.client.request(getPool, { poolId }, { signal }));
    if (new Set(vmIds).size < vmIds.length)
      throw new Fault('INPUT_INVALID', 'definition.vmIds: names a VM twice', {
        details: { field: 'definition.vmIds' },
      });
    return mapBounded(vmIds, atOnce, (vmId) => this.#vm(vmId, signal));
  }

  async #vm(vmId: VmId, signal: AbortSignal): Promise<NewItem> {
    const vm = await inField('definition.vmIds', this.client.request(getVm, { vmId }, { signal }));
    return {
      id: newId<RunItemId>(),
      kind: 'backup',
      vmId,
      vmName: vm.name,
      host: vm.hostId,
      pointId: null,
      target: null,
    };
  }

  async #restore({ items }: Restore, signal: AbortSignal): Promise<NewItem[]> {
    const platforms = [...new Set(items.map(({ target }) => target.platformId))];
    await mapBounded(platforms, atOnce, (platformId) =>
      inField(
        'definition.items.target.platformId',
        this.client.request(getPlatform, { platformId }, { signal }),
      ),
    );
    return mapBounded(items, atOnce, (item) => this.#point(item, signal));
  }

  async #point({ pointId, target }: Restore['items'][number], signal: AbortSignal): Promise<NewItem> {
    const field = 'definition.items.pointId';
    const point = await inField(field, this.client.request(getPoint, { pointId }, { signal }));
    if (point.state !== 'available')
      throw new Fault('CONFLICT', `${field}: point ${pointId} is ${point.state}, not available`, {
        details: { field, pointId, state: point.state },
      });
    return {
      id: newId<RunItemId>(),
      kind: 'restore',
      vmId: point.vmId,
      vmName: target.vmName,
      host: target.hostId,
      pointId,
      target,
    };
  }
}
