import { type Hold, type Point, type VerificationMark } from '@casvault/contracts';
import { EntitySchema } from 'typeorm';
import { type Hardware } from './protection.js';

export interface ChainRow {
  id: string;
  vmId: string;
  vmName: string;
  poolId: string;
  diskIds: string[] | null;
  createdAt: Date;
  hold: Hold | null;
  copyOf: string | null;
}

export const chainTable = new EntitySchema<ChainRow>({
  name: 'chain',
  columns: {
    id: { type: 'uuid', primary: true },
    vmId: { type: 'uuid', name: 'vm_id' },
    vmName: { type: 'text', name: 'vm_name' },
    poolId: { type: 'uuid', name: 'pool_id' },
    diskIds: { type: 'jsonb', name: 'disk_ids', nullable: true },
    createdAt: { type: 'timestamptz', name: 'created_at' },
    hold: { type: 'jsonb', nullable: true },
    copyOf: { type: 'uuid', name: 'copy_of', nullable: true },
  },
});

export interface PointRow {
  id: string;
  chainId: string;
  parentPointId: string | null;
  itemId: string;
  kind: Point['kind'];
  state: Point['state'];
  platformId: string;
  vmId: string;
  vmName: string;
  poolId: string;
  runId: string;
  createdAt: Date;
  capturedAt: Date | null;
  availableAt: Date | null;
  method: Point['method'];
  consistency: Point['consistency'];
  excludedDisks: Point['excludedDisks'];
  poolBytes: number;
  disks: Point['disks'];
  reasons: Point['reasons'];
  fault: Point['fault'];
  hardware: Hardware;
  configuration: object;
  hold: Hold | null;
  verification: VerificationMark | null;
  copyOf: string | null;
}

export const pointTable = new EntitySchema<PointRow>({
  name: 'point',
  columns: {
    id: { type: 'uuid', primary: true },
    chainId: { type: 'uuid', name: 'chain_id' },
    parentPointId: { type: 'uuid', name: 'parent_point_id', nullable: true },
    itemId: { type: 'uuid', name: 'item_id' },
    kind: { type: 'text' },
    state: { type: 'text' },
    platformId: { type: 'uuid', name: 'platform_id' },
    vmId: { type: 'uuid', name: 'vm_id' },
    vmName: { type: 'text', name: 'vm_name' },
    poolId: { type: 'uuid', name: 'pool_id' },
    runId: { type: 'uuid', name: 'run_id' },
    createdAt: { type: 'timestamptz', name: 'created_at' },
    capturedAt: { type: 'timestamptz', name: 'captured_at', nullable: true },
    availableAt: { type: 'timestamptz', name: 'available_at', nullable: true },
    method: { type: 'text', nullable: true },
    consistency: { type: 'text' },
    excludedDisks: { type: 'jsonb', name: 'excluded_disks' },
    poolBytes: { type: 'double precision', name: 'pool_bytes' },
    disks: { type: 'jsonb' },
    reasons: { type: 'jsonb' },
    fault: { type: 'jsonb', nullable: true },
    hardware: { type: 'jsonb' },
    configuration: { type: 'jsonb' },
    hold: { type: 'jsonb', nullable: true },
    verification: { type: 'jsonb', nullable: true },
    copyOf: { type: 'uuid', name: 'copy_of', nullable: true },
  },
});
