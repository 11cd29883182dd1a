import {
  bytesBehind,
  Fault,
  nextWriter,
  type CopySpec,
  type DiskProgress,
  type TransferResult,
  type WriterId,
} from '@casvault/contracts';
import { copyPoint, type BackupResult, type CopyRequest } from '@casvault/data-path';
import { Outage } from './outage.js';
import { parallelismOf } from './parallelism.rules.js';
import { locationOf, prepareRepository, withStore } from './pool-place.js';
import { remedyFor } from './remedy.rules.js';
import { inSpan } from './spans.js';
import { type Work } from './work.js';

/** Of a VM, as far as the number of its disks matters: threads beyond them rest. */
const mostDisks = 64;

/**
 * Makes a copy of a point in another pool (E7): the engine between the two, and a commit that the controller allowed. Goes on through outages of
 * either pool with the packs that it wrote, as does whoever claims it next. Ends when its lease does.
 */
export class CopyTransfer {
  readonly #work: Work<CopySpec>;
  readonly #outage: Outage;
  #writerId: WriterId;
  #earlierWriters: WriterId[];
  /** The writer may have packs: another attempt needs another one. */
  #writerUsed = false;
  #progress: readonly DiskProgress[] = [];

  constructor(work: Work<CopySpec>) {
    const { claim, spec, tools } = work;
    this.#work = work;
    this.#outage = new Outage(spec.options, tools.clock, tools.monotonic);
    this.#writerId = claim.writerId;
    this.#earlierWriters = claim.earlierWriters.map(({ writerId }) => writerId);
  }

  async run(): Promise<TransferResult> {
    const { lease } = this.#work;
    for (;;) {
      lease.throwIfEnded();
      try {
        return await this.#attempt();
      } catch (error) {
        lease.throwIfEnded();
        await this.#recover(Fault.from(error));
      }
    }
  }

  async #attempt(): Promise<TransferResult> {
    const { spec, lease, tools, speed } = this.#work;
    const location = locationOf(spec.pool, tools.unseal);
    // A chain that has a parent has its repository: another one in its place must not be taken for it.
    if (spec.parentPointId === null)
      await withStore(location, (store) => prepareRepository(spec.pool, store, lease.signal));
    await lease.prove();
    this.#writerUsed = true;
    const request = this.#request(location);
    const copy = () =>
      copyPoint(request, {
        signal: lease.signal,
        resting: tools.resting,
        ...(speed && { speed }),
        onProgress: (progress) => this.#progressed(progress),
        beforeCommit: () => lease.mayCommit(),
      });
    return resultOf(await inSpan('copy point', { 'casvault.point': spec.source.pointId }, copy));
  }

  #request(location: CopyRequest['location']): CopyRequest {
    const { spec, tools } = this.#work;
    const { chainId, pointId, parentPointId, source, options } = spec;
    return {
      source: { ...source, location: locationOf(source.pool, tools.unseal), key: null },
      location,
      key: null,
      chainId,
      pointId,
      parentPointId,
      writerId: this.#writerId,
      earlierWriters: this.#earlierWriters,
      createdAt: tools.clock.now().toISOString(),
      tools: { casvault: tools.version },
      compression: options.compression,
      ...parallelismOf(options, mostDisks),
      readBytes: options.transport.bufferKiB * 1024,
      unacknowledgedBytes: options.reconnect.bufferMiB * 1_048_576,
    };
  }

  #progressed(progress: DiskProgress[]): void {
    if (bytesBehind(progress) > bytesBehind(this.#progress)) this.#outage.over();
    this.#progress = progress;
    this.#work.onProgress(progress);
  }

  /** Returns when another attempt is due, or throws. */
  async #recover(fault: Fault): Promise<void> {
    const { lease, tools, transferId } = this.#work;
    tools.logger.warn({ err: fault, transferId }, 'transfer interrupted');
    if (remedyFor(fault) !== 'wait') throw fault;
    await this.#outage.wait(fault, lease.signal);
    if (!this.#writerUsed) return;
    const { epoch } = lease;
    const next = await lease.ask((options) =>
      tools.client.request(nextWriter, { transferId, epoch }, options),
    );
    this.#writerId = next.writerId;
    this.#writerUsed = false;
    this.#earlierWriters = next.earlierWriters.map(({ writerId }) => writerId);
  }
}

const resultOf = ({ manifest, disks, poolBytes }: BackupResult): TransferResult => {
  const { capturedAt, method, consistency } = manifest.facts;
  const told = disks.map((disk) => ({ ...disk, reasons: [...disk.reasons] }));
  return { disks: told, poolBytes, capturedAt, method, consistency, reasons: [] };
};
