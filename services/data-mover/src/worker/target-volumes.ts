import { type NbdEndpoint } from '@casvault/block-source';
import {
  Fault,
  type DiskExport,
  type Opening,
  type OpeningId,
  type RestoreSpec,
  type RollbackSpec,
} from '@casvault/contracts';
import { openRepository, readManifest } from '@casvault/data-path';
import { type StoreLocation } from '@casvault/object-store';
import { v5 as uuidv5 } from 'uuid';
import { Outage } from './outage.js';
import { withStore } from './pool-place.js';
import { remedyFor, remedyWhileOpen } from './remedy.rules.js';
import { inSpan } from './spans.js';
import { endpointOf, placesOf, type Work } from './work.js';

type WritingSpec = RestoreSpec | RollbackSpec;

/** What is asked of the disk service about a volume besides its path and format. */
export interface VolumeTerms {
  readonly sizeBytes: number;
  readonly resize?: true;
  readonly incrementalFrom?: string;
}

export interface OpenVolume {
  readonly opening: Opening;
  readonly volume: DiskExport;
  readonly endpoint: NbdEndpoint;
  readonly lost: AbortSignal;
}

/** An attempt after a crash finds the volume's opening by it. */
export const volumeOpeningId = (openingId: OpeningId, target: string): OpeningId =>
  uuidv5(target, openingId) as OpeningId;

/** The volumes that a transfer writes: opened under ids that the next attempt finds again, and opened anew when their host loses them. */
export class TargetVolumes {
  readonly #work: Work<WritingSpec>;
  readonly #outage: Outage;

  constructor(work: Work<WritingSpec>) {
    const { tools, spec } = work;
    this.#work = work;
    this.#outage = new Outage(spec.options, tools.clock, tools.monotonic);
  }

  /** Attempts until one succeeds, the lease ends, or what is wrong will not pass. An attempt does what is left to do. */
  async repeat<T>(attempt: () => Promise<T>): Promise<T> {
    const { lease } = this.#work;
    for (;;) {
      lease.throwIfEnded();
      try {
        return await attempt();
      } catch (error) {
        lease.throwIfEnded();
        await this.#recover(Fault.from(error));
      }
    }
  }

  /** Something moved: the patience with outages begins anew. */
  moved(): void {
    this.#outage.over();
  }

  /** The exact sizes of the point's disks. */
  async pointSizes(location: StoreLocation): Promise<(target: string) => number> {
    const { spec, lease } = this.#work;
    const { signal } = lease;
    const manifest = await withStore(location, async (store) =>
      readManifest(await openRepository(store, { signal }), spec, signal),
    );
    const sizes = new Map(manifest.facts.disks.map(({ target, sizeBytes }) => [target, sizeBytes]));
    return (target) => {
      const bytes = sizes.get(target);
      if (bytes === undefined) throw new Fault('INPUT_INVALID', `the point has no disk ${target}`);
      return bytes;
    };
  }

  async open(
    { path, format, target }: WritingSpec['disks'][number],
    terms: VolumeTerms,
  ): Promise<OpenVolume> {
    const { claim, openings, lease, tools, transferId } = this.#work;
    const id = volumeOpeningId(claim.openingId, target);
    const forItem = claim.ownerId === undefined ? {} : { itemId: claim.ownerId };
    const request = { kind: 'volume', path, format, ...forItem, ...terms } as const;
    const { opening, lost } = await inSpan('open volume', { 'casvault.disk': target }, () =>
      openings.open(id, request, lease.signal),
    );
    this.#outage.reached();
    tools.logger.info({ transferId, target, disks: placesOf(opening.disks) }, 'volume open');
    const [volume] = opening.disks;
    if (!volume?.writable) throw new Fault('DISK_SERVICE_REFUSED', `volume ${path} can't be written`);
    return { opening, volume, endpoint: endpointOf(volume, tools.diskTls), lost };
  }

  /** Returns when another attempt is due, or throws. */
  async #recover(fault: Fault): Promise<void> {
    const { lease, tools, transferId } = this.#work;
    const remedy = remedyFor(fault);
    tools.logger.warn({ err: fault, transferId, remedy }, 'transfer interrupted');
    if (remedy === 'fail') throw fault;
    if (remedy !== 'wait') await lease.prove();
    const lost = await this.#closeLost(remedy === 'recapture' || remedy === 'look');
    if (remedy === 'look' && lost === 0 && remedyWhileOpen(fault) === 'fail') throw fault;
    await this.#outage.wait(fault, lease.signal);
  }

  /** A lost opening keeps its id until it is closed. Returns how many there were. */
  async #closeLost(mayBe: boolean): Promise<number> {
    const { spec, claim, openings, lease } = this.#work;
    let lost = 0;
    for (const { target } of mayBe ? spec.disks : []) {
      const id = volumeOpeningId(claim.openingId, target);
      if (!(await openings.isLost(id, lease.signal))) continue;
      await openings.close(id, lease.signal);
      lost += 1;
    }
    return lost;
  }
}
