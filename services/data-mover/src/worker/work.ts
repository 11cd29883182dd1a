import { type NbdEndpoint } from '@casvault/block-source';
import {
  type Clock,
  type DiskExport,
  type DiskProgress,
  type Logger,
  type TransferId,
  type TransferResult,
} from '@casvault/contracts';
import { type RestingThreads, type SpeedCells } from '@casvault/data-path';
import { type MessagingClient } from '@casvault/messaging';
import { type HeldOpenings } from './held-openings.js';
import { type HookHost } from './hook-transfer.js';
import { type Monotonic } from './outage.js';
import { type Paces } from './paces.js';
import { type Unseal } from './pool-place.js';
import { type Claim, type TransferLease } from './transfer-lease.js';
import { type TransferLogs } from './transfer-logs.js';

/** PEM texts for disk services and exports that speak TLS: their authority, and our certificate where they ask for one. */
export type DiskTls = { readonly ca?: string; readonly cert?: string; readonly key?: string };

/** What the process gives to every transfer. */
export interface WorkTools {
  readonly client: MessagingClient;
  readonly unseal: Unseal;
  readonly clock: Clock;
  readonly monotonic: Monotonic;
  readonly logger: Logger;
  readonly diskTls: DiskTls;
  /** Threads of the engine between two transfers. */
  readonly resting: RestingThreads;
  readonly paces: Paces;
  /** Null: transfers have no logs of their own. */
  readonly logs: TransferLogs | null;
  readonly hookHost: HookHost;
  /** Of our software, as manifests name it. */
  readonly version: string;
}

/** One claimed transfer. */
export interface Work<S> {
  readonly transferId: TransferId;
  readonly claim: Claim;
  readonly spec: S;
  readonly lease: TransferLease;
  readonly openings: HeldOpenings;
  readonly tools: WorkTools;
  /** What keeps it to its speed; undefined: nothing does. */
  readonly speed: SpeedCells | undefined;
  /** Progress of the engine: goes to the controller and the metrics. */
  readonly onProgress: (progress: DiskProgress[]) => void;
}

/** The result of a transfer that moves nothing. */
export const nothingMoved: TransferResult = {
  disks: [],
  poolBytes: 0,
  capturedAt: null,
  method: 'write',
  consistency: 'crash',
  reasons: [],
};

/** Where exports are, for a log. */
export const placesOf = (disks: readonly DiskExport[]): readonly object[] =>
  disks.map(({ target, host, port, tls, sizeBytes }) => ({ target, host, port, tls, sizeBytes }));

/** Where the engine finds an export. */
export const endpointOf = ({ host, port, exportName, tls }: DiskExport, diskTls: DiskTls): NbdEndpoint => ({
  host,
  port,
  exportName,
  ...(tls ? { tls: { kind: 'x509' as const, ...diskTls } } : {}),
});
