import {
  Fault,
  type Checkpoint,
  type Clock,
  type EndedItem,
  type Logger,
  type Opening,
  type OpeningId,
  type OpenRequest,
  type RunItemId,
} from '@casvault/contracts';
import type { Checkpoints } from '../host/checkpoints.js';
import type { Metrics } from '../metrics.js';
import type { OpeningEffects } from './effects.js';
import type { EndedItems } from './ended-items.js';
import { KeyedLock } from './keyed-lock.js';
import type { PlannedOpening, Planner } from './planner.js';
import type { RecordStore } from './record-store.js';
import { isHeld, isSameRequest, itemOf, toOpening, vmOf, type OpeningRecord } from './record.js';

/** How long a lost opening is told of (410), and an interrupted one is watched for what a killed step still makes. */
const tellLostMs = 3_600_000;
const watchClosedMs = 60_000;
/** Planning looks at a handful of images; longer means a storage that hangs. */
const planTimeoutMs = 120_000;

export interface OpeningsParts {
  readonly store: RecordStore;
  readonly ended: EndedItems;
  readonly effects: OpeningEffects;
  readonly planner: Planner;
  readonly checkpoints: Checkpoints;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly tls: boolean;
  readonly maxOpenings: number;
}

/**
 * All openings of this host. Operations on one opening, and openings of one VM or volume, run one at a time; the lock of
 * the opening is always taken before that of the VM. Every change is recorded before it is made on the host.
 */
export class Openings {
  readonly #parts: OpeningsParts;
  readonly #locks = new KeyedLock();
  /** Openings on their way, with or without a record. */
  readonly #planning = new Set<OpeningId>();

  constructor(parts: OpeningsParts) {
    this.#parts = parts;
  }

  count(): number {
    return this.#parts.store.all().filter(isHeld).length;
  }

  list(): Opening[] {
    return this.#parts.store
      .all()
      .filter((record) => record.state === 'open')
      .map(toOpening);
  }

  /**
   * Opens, or returns the same opening again with its lease renewed. Throws what `Planner.plan` and the host refuse,
   * CONFLICT when the id stands for another request, CAPTURE_LOST when it stands for an opening that was lost, ITEM_ENDED when whom it
   * is for has ended.
   */
  async open(
    id: OpeningId,
    request: OpenRequest,
    address: string,
  ): Promise<{ opening: Opening; isNew: boolean }> {
    return await this.#locks.run(id, async () => {
      this.#refuseEnded(request);
      const known = this.#parts.store.get(id);
      if (known && known.state !== 'closed') {
        return { opening: await this.#again(known, request), isNew: false };
      }
      return { opening: await this.#openNew(id, request, address), isNew: true };
    });
  }

  /** Throws NOT_FOUND, or CAPTURE_LOST when it was there and the host or its lease ended it. */
  async get(id: OpeningId): Promise<Opening> {
    return await this.#locks.run(id, async () => {
      const record = this.#parts.store.get(id);
      if (
        !record ||
        record.state === 'closed' ||
        (record.state === 'closing' && record.lostBecause === null)
      ) {
        throw new Fault('NOT_FOUND', `there is no opening ${id}`, { details: { openingId: id } });
      }
      return toOpening(await this.#alive(record));
    });
  }

  /** Throws CAPTURE_LOST when it is not open any more. */
  async renew(id: OpeningId, leaseSeconds: number): Promise<Opening> {
    return await this.#locks.run(id, async () => {
      const record = this.#parts.store.get(id);
      if (record?.state !== 'open') throw lost(id, record?.lostBecause ?? 'it is not open on this host');
      return toOpening(await this.#renewed(await this.#alive(record), leaseSeconds));
    });
  }

  /** Removes everything that it made, its checkpoint too unless `keepCheckpoint`. One that is gone is no error. */
  async close(id: OpeningId, keepCheckpoint: boolean): Promise<void> {
    await this.#locks.run(id, async () => {
      const record = this.#parts.store.get(id);
      if (!record || record.state === 'closed') return;
      if (record.state === 'lost') {
        await this.#parts.store.remove(id);
        return;
      }
      // A clean-up that has begun is not turned round, neither way.
      const keep = record.state === 'open' ? keepCheckpoint : record.keepCheckpoint;
      await this.#finish({ ...record, keepCheckpoint: keep, lostBecause: null });
      this.#parts.metrics.closed('closed');
      this.#parts.logger.info({ openingId: id, keepCheckpoint: keep }, 'opening closed');
    });
  }

  /** Ends an opening against its caller's will: `stillSo` is asked again when its turn has come. */
  async lose(id: OpeningId, why: string, stillSo: (record: OpeningRecord) => boolean): Promise<void> {
    await this.#locks.run(id, async () => {
      const record = this.#parts.store.get(id);
      if (record?.state === 'open' && stillSo(record)) await this.#lose(record, why);
    });
  }

  /**
   * The item is over: what it wrote is somebody else's, or gone. Returns when that is remembered for good and no opening of it stands any
   * more, however late its writer.
   */
  async endItem(itemId: RunItemId): Promise<EndedItem> {
    const { ended, store, clock } = this.#parts;
    const item = await ended.add(itemId, clock.now());
    for (const { openingId } of store.all().filter(({ request }) => itemOf(request) === itemId))
      await this.lose(openingId, 'its item has ended', () => true);
    return item;
  }

  endedItem(itemId: RunItemId): EndedItem {
    return this.#parts.ended.get(itemId);
  }

  /** All checkpoints of this product on the VM. Throws VM_NOT_FOUND. */
  async checkpoints(vmUuid: string): Promise<Checkpoint[]> {
    return await this.#locks.run(`vm:${vmUuid}`, () => this.#parts.checkpoints.list(vmUuid));
  }

  /** Removes a checkpoint; gone already is no error. Throws VM_NOT_FOUND, and CONFLICT while an opening counts from it or makes it. */
  async removeCheckpoint(vmUuid: string, name: string): Promise<void> {
    await this.#locks.run(`vm:${vmUuid}`, async () => {
      const user = this.#parts.store.all().find((record) => isHeld(record) && uses(record, vmUuid, name));
      if (user) {
        throw new Fault('CONFLICT', `checkpoint ${name} is in use by opening ${user.openingId}`, {
          details: { vmUuid, checkpoint: name, openingId: user.openingId },
        });
      }
      await this.#parts.checkpoints.remove(vmUuid, name);
      this.#parts.logger.info({ vmUuid, checkpoint: name }, 'checkpoint removed');
    });
  }

  /** Goes on with a clean-up that was interrupted or failed; looks again for remnants of a closed one. */
  async tidy(id: OpeningId): Promise<void> {
    await this.#locks.run(id, async () => {
      const record = this.#parts.store.get(id);
      if (!record) return;
      if (record.state === 'opening') await this.#finish({ ...record, interrupted: true });
      else if (record.state === 'closing') await this.#finish(record);
      else if (this.#isOver(record)) await this.#parts.store.remove(id);
      else if (record.state === 'closed') {
        // Not beside an opening that makes, or freezes, the same.
        await this.#locks.run(resourceOf(record.request), () => this.#parts.effects.removeLate(record));
      }
    });
  }

  /**
   * Takes up what an earlier process of the service left: openings that still stand go on (their lease holds for `graceMs`
   * at least, since no caller could renew it meanwhile), all else is removed.
   */
  async resume(graceMs: number): Promise<void> {
    for (const record of this.#parts.store.all()) {
      if (isHeld(record)) this.#parts.effects.claim(record);
      try {
        if (record.state === 'open') await this.#resumeOpen(record, graceMs);
        else await this.tidy(record.openingId);
      } catch (error) {
        const said = error instanceof Error ? error.message : String(error);
        this.#parts.logger.error({ openingId: record.openingId, said }, 'opening not taken up yet');
      }
    }
  }

  async #resumeOpen(record: OpeningRecord, graceMs: number): Promise<void> {
    if (!(await this.#stands(record))) {
      await this.lose(record.openingId, 'the host ended it while the service was away', () => true);
      return;
    }
    const until = new Date(this.#now().getTime() + graceMs).toISOString();
    const leaseUntil = record.leaseUntil > until ? record.leaseUntil : until;
    await this.#parts.store.save({ ...record, leaseUntil });
    this.#parts.logger.info({ openingId: record.openingId, leaseUntil }, 'opening taken up again');
  }

  async #again(known: OpeningRecord, request: OpenRequest): Promise<Opening> {
    const { openingId } = known;
    if (!isSameRequest(known.request, request)) {
      throw new Fault('CONFLICT', `opening ${openingId} stands for another request`, {
        details: { openingId },
      });
    }
    if (known.state === 'closing' && known.lostBecause === null) {
      throw new Fault('DISK_SERVICE_REFUSED', `opening ${openingId} is being closed`, {
        details: { openingId },
      });
    }
    return toOpening(await this.#renewed(await this.#alive(known), request.leaseSeconds));
  }

  /** The record, unless it is known not to stand any more: then it is lost. */
  async #alive(record: OpeningRecord): Promise<OpeningRecord> {
    if (record.state === 'open' && (await this.#stands(record))) return record;
    const why =
      record.lostBecause ?? 'the host ended it: the VM stopped, or its backup job or server was ended';
    if (record.state === 'open') await this.#lose(record, why);
    throw lost(record.openingId, why);
  }

  /** A backup job outlives libvirtd in QEMU: while libvirt does not answer, the opening counts as standing. */
  async #stands(record: OpeningRecord): Promise<boolean> {
    try {
      return await this.#parts.effects.isAlive(record);
    } catch (error) {
      if (!Fault.is(error) || error.kind !== 'unavailable') throw error;
      this.#parts.logger.warn({ openingId: record.openingId, said: error.message }, 'opening not looked at');
      return true;
    }
  }

  async #renewed(record: OpeningRecord, leaseSeconds: number): Promise<OpeningRecord> {
    const renewed = { ...record, leaseUntil: this.#after(leaseSeconds * 1_000) };
    await this.#parts.store.save(renewed);
    return renewed;
  }

  async #openNew(id: OpeningId, request: OpenRequest, address: string): Promise<Opening> {
    const { maxOpenings } = this.#parts;
    const held = this.#parts.store
      .all()
      .filter((record) => isHeld(record) && !this.#planning.has(record.openingId));
    if (held.length + this.#planning.size >= maxOpenings) {
      throw new Fault(
        'DISK_SERVICE_REFUSED',
        `this host has ${String(maxOpenings)} openings already: the limit`,
        {
          details: { maxOpenings },
        },
      );
    }
    this.#planning.add(id);
    try {
      return await this.#locks.run(resourceOf(request), () => this.#planAndMake(id, request, address));
    } finally {
      this.#planning.delete(id);
    }
  }

  async #planAndMake(id: OpeningId, request: OpenRequest, address: string): Promise<Opening> {
    const { store, effects, planner, logger, metrics } = this.#parts;
    const remnant = store.get(id);
    if (remnant) await effects.removeLate(remnant);
    const others = store.all().filter(isHeld);
    const plan = await planner.plan(request, others, AbortSignal.timeout(planTimeoutMs));
    const planned = this.#record(id, request, address, plan);
    await store.save(planned);
    try {
      // Once more: whoever ends the item from now on finds the record.
      this.#refuseEnded(request);
      const made = await effects.make(planned, (record) => store.save(record));
      const open: OpeningRecord = {
        ...made,
        state: 'open',
        leaseUntil: this.#after(request.leaseSeconds * 1_000),
      };
      await store.save(open);
      metrics.opened(open.method);
      logger.info({ openingId: id, method: open.method, disks: open.disks.length }, 'opening opened');
      return toOpening(open);
    } catch (error) {
      await this.#giveUp(id);
      throw error;
    }
  }

  #refuseEnded(request: OpenRequest): void {
    const itemId = itemOf(request);
    const endedAt = itemId && this.#parts.ended.get(itemId).endedAt;
    if (!endedAt) return;
    const message = `item ${itemId} ended at ${endedAt}: nothing is written for it again`;
    throw new Fault('ITEM_ENDED', message, { details: { itemId, endedAt } });
  }

  #record(id: OpeningId, request: OpenRequest, address: string, plan: PlannedOpening): OpeningRecord {
    return {
      version: 1,
      openingId: id,
      request,
      state: 'opening',
      ...plan,
      address,
      tls: this.#parts.tls,
      // Before the first step: all that the guest had written by then is in the capture.
      openedAt: this.#now().toISOString(),
      leaseUntil: this.#after(request.leaseSeconds * 1_000),
      consistency: 'crash',
      reasons: [],
      mayBeFrozen: false,
      keepCheckpoint: false,
      lostBecause: null,
      interrupted: false,
      keepUntil: null,
    };
  }

  /** After a fault in the middle of opening. What can't be removed now is removed by `tidy` later. */
  async #giveUp(id: OpeningId): Promise<void> {
    const record = this.#parts.store.get(id);
    if (!record) return;
    this.#parts.metrics.closed('failed');
    try {
      await this.#finish({ ...record, interrupted: true });
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error);
      this.#parts.logger.error({ openingId: id, said }, 'a failed opening is not cleaned up yet');
    }
  }

  async #lose(record: OpeningRecord, why: string): Promise<void> {
    this.#parts.logger.warn({ openingId: record.openingId, why }, 'opening lost');
    this.#parts.metrics.closed('lost');
    await this.#finish({ ...record, keepCheckpoint: false, lostBecause: why });
  }

  /** closing -> removed from the host -> gone, lost or closed. */
  async #finish(record: OpeningRecord): Promise<void> {
    const { store, effects } = this.#parts;
    const closing: OpeningRecord = { ...record, state: 'closing' };
    await store.save(closing);
    await effects.remove(closing);
    if (closing.lostBecause !== null) {
      await store.save({ ...closing, state: 'lost', keepUntil: this.#after(tellLostMs) });
    } else if (closing.interrupted) {
      await store.save({ ...closing, state: 'closed', keepUntil: this.#after(watchClosedMs) });
    } else {
      await store.remove(closing.openingId);
    }
  }

  #isOver(record: OpeningRecord): boolean {
    return record.keepUntil !== null && record.keepUntil <= this.#now().toISOString();
  }

  #now(): Date {
    return this.#parts.clock.now();
  }

  #after(ms: number): string {
    return new Date(this.#now().getTime() + ms).toISOString();
  }
}

const resourceOf = (request: OpenRequest): string =>
  request.kind === 'capture' ? `vm:${request.vm.uuid}` : `path:${request.path}`;

const uses = (record: OpeningRecord, vmUuid: string, name: string): boolean =>
  vmOf(record.request)?.uuid === vmUuid &&
  (record.checkpoint === name || record.disks.some(({ bitmapSince }) => bitmapSince === name));

const lost = (id: OpeningId, why: string): Fault =>
  new Fault('CAPTURE_LOST', `opening ${id} is lost: ${why}`, { details: { openingId: id } });
