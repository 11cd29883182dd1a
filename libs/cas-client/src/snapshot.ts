import { z } from 'zod';
import { type CallBody } from './caller.js';
import { listOf, parseAs, rows, text, type Wire } from './wire.js';

/** A snapshot of a VM; the CVM tells a tree, this is one of its nodes. */
export interface CasSnapshot {
  readonly name: string;
  readonly description: string;
  /** By the platform's clock; null where it tells none. */
  readonly createdAt: Date | null;
}

const nodeSchema = z.object({
  name: text.pipe(z.string().min(1)),
  desc: text,
  creationTime: text,
  snapshots: rows(z.unknown()),
});

const instantOf = (value: string): Date | null => (Number.isNaN(Date.parse(value)) ? null : new Date(value));

const flat = (nodes: readonly Wire[]): CasSnapshot[] =>
  nodes.flatMap((wire) => {
    const node = parseAs(nodeSchema, wire, 'snapshot');
    const { name, desc: description, creationTime } = node;
    return [
      { name, description, createdAt: instantOf(creationTime) },
      ...flat(node.snapshots as readonly Wire[]),
    ];
  });

/** `GET /vm/snapshot/{vmId}`: the whole tree as a list, parents before children. */
export const snapshotsOf = (reply: Wire): CasSnapshot[] => flat(listOf(reply, 'snapshot'));

export interface NewSnapshot {
  readonly vmExternalId: string;
  readonly name: string;
  readonly description: string;
  /** `internal`: inside the images. `external`: the present images are frozen, a new layer takes the writes. */
  readonly kind: 'internal' | 'external';
}

/**
 * Body of `POST /vm/snapshot`. `snapMem` 0: the disks alone, without the guest's memory.
 *
 * UNPROVEN: no public client shows how a CVM is asked for an external snapshot, nor a field that tells the two kinds apart.
 * The guess `snapshotMode` (1 external, 0 internal) stands here and nowhere else, to be put right at a real CVM; the
 * emulation takes the same. What came of it is never assumed: callers look at the paths of the disks afterwards.
 */
export const newSnapshotBody = (snapshot: NewSnapshot): CallBody => ({
  root: 'snapshot',
  fields: {
    vmId: snapshot.vmExternalId,
    name: snapshot.name,
    snapshotTitle: snapshot.name,
    desc: snapshot.description,
    snapMem: 0,
    noStopVirtSnapMem: 0,
    snapshotMode: snapshot.kind === 'external' ? 1 : 0,
  },
});
