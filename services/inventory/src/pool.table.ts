import { type PoolLocation } from '@casvault/contracts';
import { EntitySchema } from 'typeorm';

export interface PoolRow {
  id: string;
  name: string;
  type: string;
  location: PoolLocation;
  place: string;
  createdAt: Date;
}

export const poolTable = new EntitySchema<PoolRow>({
  name: 'pool',
  columns: {
    id: { type: 'uuid', primary: true },
    name: { type: 'text' },
    type: { type: 'text' },
    location: { type: 'jsonb' },
    place: { type: 'text' },
    createdAt: { type: 'timestamptz', name: 'created_at' },
  },
});
