import { v5 as uuidv5, v7 as uuidv7 } from 'uuid';
import { z } from 'zod';

/** Every id of the product is a UUID (RFC 9562, version 7 when minted here), branded so that ids can't be swapped. */
const brandedId = <B extends string>(brand: B) => z.uuid(`must be a UUID (${brand})`).brand<B>();

export const platformIdSchema = brandedId('PlatformId');
export type PlatformId = z.infer<typeof platformIdSchema>;
export const hostIdSchema = brandedId('HostId');
export type HostId = z.infer<typeof hostIdSchema>;
export const vmIdSchema = brandedId('VmId');
export type VmId = z.infer<typeof vmIdSchema>;
export const diskIdSchema = brandedId('DiskId');
export type DiskId = z.infer<typeof diskIdSchema>;
export const backupHostIdSchema = brandedId('BackupHostId');
export type BackupHostId = z.infer<typeof backupHostIdSchema>;
export const poolIdSchema = brandedId('PoolId');
export type PoolId = z.infer<typeof poolIdSchema>;
export const jobIdSchema = brandedId('JobId');
export type JobId = z.infer<typeof jobIdSchema>;
export const runIdSchema = brandedId('RunId');
export type RunId = z.infer<typeof runIdSchema>;
/** One VM of a run. Its id is also the id of the protection or restore in snapshot-engine that carries it out; further attempts have ids of their own there. */
export const runItemIdSchema = brandedId('RunItemId');
export type RunItemId = z.infer<typeof runItemIdSchema>;
export const chainIdSchema = brandedId('ChainId');
export type ChainId = z.infer<typeof chainIdSchema>;
export const pointIdSchema = brandedId('PointId');
export type PointId = z.infer<typeof pointIdSchema>;
/** A deletion of points: previewed, confirmed, carried out. */
export const deletionIdSchema = brandedId('DeletionId');
export type DeletionId = z.infer<typeof deletionIdSchema>;
/** One check of what a point has in its pool. */
export const verificationIdSchema = brandedId('VerificationId');
export type VerificationId = z.infer<typeof verificationIdSchema>;
export const transferIdSchema = brandedId('TransferId');
export type TransferId = z.infer<typeof transferIdSchema>;
/** One writer of packs: minted anew for every claim of a transfer, so that two workers never write the same object. */
export const writerIdSchema = brandedId('WriterId');
export type WriterId = z.infer<typeof writerIdSchema>;
/** An opening at a disk service (a capture of a VM or a volume opened for writing). */
export const openingIdSchema = brandedId('OpeningId');
export type OpeningId = z.infer<typeof openingIdSchema>;
/** One download of a disk of a point. */
export const readingIdSchema = brandedId('ReadingId');
export type ReadingId = z.infer<typeof readingIdSchema>;
export const alertIdSchema = brandedId('AlertId');
export type AlertId = z.infer<typeof alertIdSchema>;
/** Where alerts are sent to. */
export const alertChannelIdSchema = brandedId('AlertChannelId');
export type AlertChannelId = z.infer<typeof alertChannelIdSchema>;
export const userIdSchema = brandedId('UserId');
export type UserId = z.infer<typeof userIdSchema>;
export const apiTokenIdSchema = brandedId('ApiTokenId');
export type ApiTokenId = z.infer<typeof apiTokenIdSchema>;
export const licenceIdSchema = brandedId('LicenceId');
export type LicenceId = z.infer<typeof licenceIdSchema>;

/** Mints a time-ordered UUID v7; `newId<PointId>()`. This file is the only place where ids are made. */
export const newId = <T extends string>(): T => uuidv7() as T;

/** The same id for the same name in what `namespace` names: whoever makes it twice makes one thing. */
export const idFrom = <T extends string>(namespace: string, name: string): T => uuidv5(name, namespace) as T;
