import { bytesBehind, type CopySpec, type DiskProgress, type TransferResult } from '@casvault/contracts';
import { copyPoint, type BackupResult, type CopyRequest } from '@casvault/data-path';
import { Outage } from './outage.js';
import { parallelismOf } from './parallelism.rules.js';
import { throughOutages } from './pool-attempts.js';
import { locationOf, prepareRepository } from './pool-place.js';
import { PoolWriter } from './pool-writer.js';
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
  readonly #writer: PoolWriter;
  #progress: readonly DiskProgress[] = [];

  constructor(work: Work<CopySpec>) {
    const { spec, tools } = work;
    this.#work = work;
    this.#outage = new Outage(spec.options, tools.clock, tools.monotonic);
    this.#writer = new PoolWriter(work, () => true);
  }

  run(): Promise<TransferResult> {
    const attempt = () => this.#attempt();
    return throughOutages(this.#work, this.#outage, attempt, () => this.#writer.handOver());
  }

  async #attempt(): Promise<TransferResult> {
    const { spec, lease, tools, speed } = this.#work;
    const location = locationOf(spec.pool, tools.unseal);
    await prepareRepository(spec, location, lease.signal);
    await lease.prove();
    this.#writer.use();
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
      writerId: this.#writer.id,
      earlierWriters: this.#writer.earlier,
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
}

const resultOf = ({ manifest, disks, poolBytes }: BackupResult): TransferResult => {
  const { capturedAt, method, consistency } = manifest.facts;
  const told = disks.map((disk) => ({ ...disk, reasons: [...disk.reasons] }));
  return { disks: told, poolBytes, capturedAt, method, consistency, reasons: [] };
};
