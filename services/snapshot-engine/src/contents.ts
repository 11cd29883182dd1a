import {
  Fault,
  getPoolAccess,
  listBackupHosts,
  newId,
  type BackupHost,
  type Clock,
  type ContentTicket,
  type openContent,
  type ReadingId,
  type Sealed,
} from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';
import { type z } from 'zod';
import { type PointStore } from './point-store.js';
import { type ReadingStore } from './reading-store.js';
import { refuseUnrestorable } from './restore.rules.js';

/** Within which a download begins: the gateway uses the ticket at once. */
const ticketMs = 60_000;

export interface ContentsOptions {
  readonly client: Pick<MessagingClient, 'request'>;
  readonly points: Pick<PointStore, 'get'>;
  readonly readings: Pick<ReadingStore, 'open'>;
  readonly seal: (clear: string) => Sealed;
  readonly clock: Clock;
}

/** Tickets for the content of disks of points (F9). */
export class Contents {
  constructor(private readonly o: ContentsOptions) {}

  async open(
    { pointId, target, group }: z.output<typeof openContent.request>,
    signal: AbortSignal,
  ): Promise<z.input<typeof openContent.reply>> {
    const { client, points, readings, seal, clock } = this.o;
    const point = await points.get(pointId);
    const refusal = refuseUnrestorable(point);
    if (refusal) throw refusal;
    const disk = point.disks.find((one) => one.target === target);
    if (!disk) throw new Fault('NOT_FOUND', `point ${pointId} holds no disk ${target}`);
    const pool = await client.request(getPoolAccess, { poolId: point.poolId }, { signal });
    const hosts = await client.request(listBackupHosts, { limit: 500 }, { signal });
    const readingId = newId<ReadingId>();
    const url = moverFor(readingId, group, hosts.items);
    const now = clock.now();
    await readings.open(readingId, pointId, now);
    const ticket: ContentTicket = {
      readingId,
      expiresAt: new Date(now.getTime() + ticketMs).toISOString(),
      pool,
      chainId: point.chainId,
      pointId,
      target,
      mapRoot: disk.mapRoot,
    };
    return { url, ticket: seal(JSON.stringify(ticket)), vmName: point.vmName };
  }
}

/** Any of the group that is online: the last digits of an id are random. */
export const moverFor = (readingId: ReadingId, group: string, hosts: readonly BackupHost[]): string => {
  const urls = hosts
    .filter((host) => host.state === 'online' && host.group === group)
    .flatMap(({ contentUrl }) => (contentUrl === null ? [] : [contentUrl]));
  const url = urls[parseInt(readingId.slice(-6), 16) % Math.max(1, urls.length)];
  if (url === undefined)
    throw new Fault('DEPENDENCY_UNAVAILABLE', `no mover of group '${group}' is online to hand it out`, {
      details: { group },
    });
  return url;
};
