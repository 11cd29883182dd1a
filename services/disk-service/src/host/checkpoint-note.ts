import { openingIdSchema, type OpeningId } from '@casvault/contracts';

/** What the description of a checkpoint says of its making. */
export interface CheckpointNote {
  /** Null: none of ours. */
  readonly madeBy: OpeningId | null;
  /** Virtual size of each disk at that instant. */
  readonly sizes: ReadonlyMap<string, number>;
}

/** libvirt keeps this text with the checkpoint: it proves whose it is, and what a bitmap began with. */
export function checkpointNote(
  openingId: OpeningId,
  disks: readonly { readonly target: string; readonly sizeBytes: number }[],
): string {
  const sizes = disks.map(({ target, sizeBytes }) => ` ${target}=${String(sizeBytes)}`);
  return `casvault opening ${openingId}${sizes.join('')}`;
}

export function parseCheckpointNote(description: string): CheckpointNote {
  const [, id, rest] = /^casvault opening (\S+)((?: \S+)*)$/.exec(description.trim()) ?? [];
  const madeBy = openingIdSchema.safeParse(id);
  const sizes = new Map<string, number>();
  for (const word of (rest ?? '').split(' ')) {
    const [, target, bytes] = /^([a-z0-9]+)=(\d+)$/.exec(word) ?? [];
    if (target !== undefined) sizes.set(target, Number(bytes));
  }
  return { madeBy: madeBy.success ? madeBy.data : null, sizes: madeBy.success ? sizes : new Map() };
}
