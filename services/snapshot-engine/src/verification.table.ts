import { type Verification } from '@casvault/contracts';
import { EntitySchema } from 'typeorm';

export interface VerificationRow {
  id: string;
  pointId: string;
  createdAt: Date;
  shown: Verification;
}

export const verificationTable = new EntitySchema<VerificationRow>({
  name: 'verification',
  columns: {
    id: { type: 'uuid', primary: true },
    pointId: { type: 'uuid', name: 'point_id' },
    createdAt: { type: 'timestamptz', name: 'created_at' },
    shown: { type: 'jsonb' },
  },
});
