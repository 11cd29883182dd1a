import { z } from 'zod';
import { transferOptionsSchema, verificationDepthSchema } from './data-mover.js';
import { preconditionSchema, scriptsSchema } from './hook.js';
import { diskIdSchema, hostIdSchema, pointIdSchema, poolIdSchema, vmIdSchema } from './ids.js';
import { networkOptionsSchema } from './inventory.js';
import { pointKindSchema } from './point.js';
import { creationTargetSchema, restoreTargetSchema, rollbackTargetSchema } from './restore.js';
import { cbtOptionsSchema, reserveSchema, type ItemKind } from './snapshot-engine.js';

/*
 * What a job says: what it protects or brings back, and how; owned by the scheduler.
 */

/** Of one VM: disks at once, connections to each. A VM has at most as many connections as the larger of the two says. */
const vmParallelSchema = z.object({
  disksPerVm: z.number().int().min(1).max(5).default(1),
  streamsPerDisk: z.number().int().min(1).max(5).default(1),
});
const parallelSchema = z.object({
  vms: z.number().int().min(1).max(32).default(2),
  vmsPerHost: z.number().int().min(1).max(10).default(2),
  ...vmParallelSchema.shape,
});
/** Of a job of one VM for one request (F8, F9). */
export const oneVmParallelSchema = vmParallelSchema.prefault({});

/** How the data of a job are carried, but for what `parallel` says. */
const jobOptionsSchema = transferOptionsSchema.omit({ disksPerVm: true, streamsPerDisk: true });

/** F5: a channel carries one disk; no more disks of the run are written at once than there are channels. */
const restoreParallelSchema = parallelSchema.extend({
  channels: z.number().int().min(1).max(64).default(2),
});

/** A VM whose backup fails for a network or other passing cause is tried again within the run; such an attempt begins `intervalMinutes` after. */
const retrySchema = z.object({
  count: z.number().int().min(0).max(10).default(3),
  intervalMinutes: z.number().int().min(0).max(120).default(10),
});
export type Retry = z.infer<typeof retrySchema>;

/** D10: around the runs of backup and restore jobs. */
const hooksShape = {
  /** Asked before the run begins; where it does not hold the run is given up. Absent: none. */
  precondition: preconditionSchema.optional(),
  scripts: scriptsSchema.optional(),
};

/** D1: what a backup job protects, resolved when a run begins. */
export const contentShape = {
  vmIds: z.array(vmIdSchema).max(10_000).default([]),
  /** Whatever VMs these hosts have then, as inventory last read it. */
  hostIds: z.array(hostIdSchema).max(1_000).default([]),
  /** VMs of these hosts that are left out. */
  excludedVmIds: z.array(vmIdSchema).max(10_000).default([]),
};
type Content = { readonly [K in keyof typeof contentShape]: readonly string[] };

export const refuseContent = (content: Content, context: z.RefinementCtx): void => {
  const { vmIds, hostIds, excludedVmIds } = content;
  const refuse = (field: keyof Content, message: string): void =>
    context.addIssue({ code: 'custom', path: [field], message, input: content[field] });
  if (vmIds.length + hostIds.length === 0) refuse('vmIds', 'names no VM, and hostIds no host');
  if (excludedVmIds.length > 0 && hostIds.length === 0)
    refuse('excludedVmIds', 'leaves out VMs of whole hosts, and hostIds names none');
  const named = new Set(vmIds);
  const both = excludedVmIds.find((id) => named.has(id));
  if (both !== undefined) refuse('excludedVmIds', `leaves out VM ${both}, which vmIds names`);
};

export const openBackupDefinitionSchema = z.object({
  kind: z.literal('backup'),
  ...contentShape,
  /** D1: only these disks of the job's only VM; absent: all that the capture can hold. */
  diskIds: z.array(diskIdSchema).min(1).max(64).optional(),
  poolId: poolIdSchema,
  /** Group of backup hosts. */
  group: z.string().min(1).max(64).default('default'),
  parallel: parallelSchema.prefault({}),
  /** D6: an incremental stands on the newest chain of the same VM, disks and pool; where there is none it is a full. */
  pointKind: pointKindSchema.default('incremental'),
  cbt: cbtOptionsSchema.prefault({}),
  /** R6: a running VM with disks that can't be captured online is shut down for the backup and started again. */
  powerOff: z.boolean().default(false),
  network: networkOptionsSchema.prefault({}),
  /** A VM is failed, not captured, while a data store that it uses has less free. */
  reserve: reserveSchema.prefault({}),
  retry: retrySchema.prefault({}),
  ...hooksShape,
  options: jobOptionsSchema.prefault({}),
});
export const backupDefinitionSchema = openBackupDefinitionSchema.superRefine(refuseContent);
/** F4: what is said of one VM of a restore; for the rest `defaults` are asked, then the point. */
export const restoreWishSchema = restoreTargetSchema.partial().extend({ powerOn: z.boolean().optional() });
export type RestoreWish = z.infer<typeof restoreWishSchema>;
const namePartSchema = z
  .string()
  .max(32)
  .regex(/^[A-Za-z0-9_.-]*$/, "letters, digits, '-', '_' and '.', at most 32");
/** F4, in batch: what holds for every VM that does not say otherwise. */
export const restoreDefaultsSchema = restoreWishSchema.omit({ vmName: true, volumes: true }).extend({
  /** Put before and after the name of the point's VM, where an item names none. */
  vmNamePrefix: namePartSchema.optional(),
  vmNameSuffix: namePartSchema.optional(),
});
export type RestoreDefaults = z.infer<typeof restoreDefaultsSchema>;

/** F3: what nobody says of a restore over the original path, for it follows from the point and its VM. */
const followsFromOriginal = [
  'platformId',
  'hostId',
  'storageName',
  'vmName',
  'vmNamePrefix',
  'vmNameSuffix',
  'cpuCount',
  'coresPerSocket',
  'memoryMiB',
  'nics',
  'volumes',
  'preallocation',
  'overwrite',
] as const;
type PathWish = Partial<Record<(typeof followsFromOriginal)[number], unknown>> &
  Pick<RestoreWish, 'path' | 'keepMac'>;

const refusePaths = (
  { defaults = {}, items }: { defaults?: PathWish | undefined; items: readonly { target: PathWish }[] },
  context: z.RefinementCtx,
): void => {
  const judge = (wish: PathWish, at: (string | number)[], path: RestoreWish['path']): void => {
    const refuse = (field: keyof PathWish, message: string): void =>
      context.addIssue({ code: 'custom', path: [...at, field], message, input: wish[field] });
    if (path !== 'original') {
      if (wish.keepMac) refuse('keepMac', "only a restore with path 'original' keeps MAC addresses");
      return;
    }
    for (const field of followsFromOriginal)
      if (wish[field] !== undefined)
        refuse(field, "with path 'original' it follows from the point and its VM (F3)");
  };
  judge(defaults, ['defaults'], defaults.path);
  for (const [index, { target }] of items.entries())
    judge(target, ['items', index, 'target'], target.path ?? defaults.path);
};

const openRestoreDefinitionSchema = z.object({
  kind: z.literal('restore'),
  defaults: restoreDefaultsSchema.optional(),
  items: z
    .array(
      z.object({
        pointId: pointIdSchema,
        /** E7: the pool to read from, which has the point or a copy of it. Absent: the pool of `pointId`. */
        poolId: poolIdSchema.optional(),
        target: restoreWishSchema.default({}),
      }),
    )
    .min(1)
    .max(1000),
  group: z.string().min(1).max(64).default('default'),
  parallel: restoreParallelSchema.prefault({}),
  network: networkOptionsSchema.prefault({}),
  ...hooksShape,
  options: jobOptionsSchema.prefault({}),
});
export const restoreDefinitionSchema = openRestoreDefinitionSchema.superRefine(refusePaths);
const requestedOnce = { defaults: true, precondition: true, scripts: true } as const;
/** F8. Not a saved job of a user: it is made, with one immediate run, for exactly one confirmed request. */
export const rollbackDefinitionSchema = openRestoreDefinitionSchema.omit(requestedOnce).extend({
  kind: z.literal('rollback'),
  items: z
    .array(z.object({ pointId: pointIdSchema, target: rollbackTargetSchema }))
    .min(1)
    .max(1000),
});
/** F9. As a roll-back: one job and one run for one request. Its runs and items are restores. */
export const creationDefinitionSchema = openRestoreDefinitionSchema.omit(requestedOnce).extend({
  kind: z.literal('creation'),
  items: z
    .array(z.object({ pointId: pointIdSchema, target: creationTargetSchema }))
    .min(1)
    .max(1000),
});
/** E8: checks points of a pool against their checksums; one item a point. A point that is damaged is marked, and fails its item. */
export const verifyDefinitionSchema = z.object({
  kind: z.literal('verify'),
  poolId: poolIdSchema,
  /** Only points of these VMs; absent: of all, also of VMs that are gone. */
  vmIds: z.array(vmIdSchema).min(1).max(10_000).optional(),
  /** `newest`: of each chain the newest alone. */
  points: z.enum(['all', 'newest']).default('all'),
  /** Of one run, which takes those first that were verified longest ago: the runs together go through a pool that is too large for one. */
  mostPoints: z.number().int().min(1).max(10_000).default(10_000),
  depth: verificationDepthSchema.default('stored'),
  /** Group of backup hosts that reach the pool. */
  group: z.string().min(1).max(64).default('default'),
  parallel: z.object({ points: z.number().int().min(1).max(32).default(2) }).prefault({}),
});
export const refuseSamePool = (
  { sourcePoolId, poolId }: { readonly sourcePoolId: string; readonly poolId: string },
  context: z.RefinementCtx,
): void => {
  const message = 'must not be sourcePoolId: a point is copied to another pool';
  if (sourcePoolId === poolId) context.addIssue({ code: 'custom', path: ['poolId'], message, input: poolId });
};
/** E7: copies points of a pool to another one; one item a point, of each chain the oldest first and one at a time. What is there already is passed over. */
export const copyDefinitionSchema = z
  .object({
    kind: z.literal('copy'),
    /** Where the points are. */
    sourcePoolId: poolIdSchema,
    /** Where their copies go; of whatever type. */
    poolId: poolIdSchema,
    /** Only points of these VMs; absent: of all, also of VMs that are gone. */
    vmIds: z.array(vmIdSchema).min(1).max(10_000).optional(),
    /** `newest`: of each chain the newest alone. */
    points: z.enum(['all', 'newest']).default('all'),
    /** Of one run; the next goes on with what is left. */
    mostPoints: z.number().int().min(1).max(10_000).default(10_000),
    /** Group of backup hosts that reach both pools. */
    group: z.string().min(1).max(64).default('default'),
    parallel: z
      .object({
        /** Of different chains. */
        points: z.number().int().min(1).max(32).default(2),
        ...vmParallelSchema.shape,
      })
      .prefault({}),
    options: jobOptionsSchema.prefault({}),
  })
  .superRefine(refuseSamePool);
export const jobDefinitionSchema = z.discriminatedUnion('kind', [
  backupDefinitionSchema,
  restoreDefinitionSchema,
  rollbackDefinitionSchema,
  creationDefinitionSchema,
  verifyDefinitionSchema,
  copyDefinitionSchema,
]);
export type JobDefinition = z.infer<typeof jobDefinitionSchema>;
/** What the runs of a job are of. */
export const runKindOf = ({ kind }: Pick<JobDefinition, 'kind'>): ItemKind =>
  kind === 'creation' ? 'restore' : kind;

/**
 * F6: whether a job is saved only with a code that a preview of exactly this request issued: restores, and backups that leave VMs
 * unprotected without an alert (`cbt.fallback` is `skip-silent`).
 */
export const needsConfirmation = (definition: JobDefinition): boolean =>
  definition.kind === 'restore' ||
  (definition.kind === 'backup' && definition.cbt.fallback === 'skip-silent');
