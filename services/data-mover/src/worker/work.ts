import { type NbdEndpoint } from '@casvault/block-source';
import {
  type Clock,
  type DiskExport,
  type DiskProgress,
  type Logger,
  type TransferId,
  type TransferResult,
} from '@casvault/contracts';
import { type RestingThreads } from '@casvault/data-path';
import { type MessagingClient } from '@casvault/messaging';
import { type HeldOpenings } from './held-openings.js';
import { type Monotonic } from './outage.js';
import { type Unseal } from './pool-place.js';
import { type Claim, type TransferLease } from './transfer-lease.js';

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

/** Where the engine finds an export. */
export const endpointOf = ({ host, port, exportName, tls }: DiskExport, diskTls: DiskTls): NbdEndpoint => ({
  host,
  port,
  exportName,
  ...(tls ? { tls: { kind: 'x509' as const, ...diskTls } } : {}),
});
