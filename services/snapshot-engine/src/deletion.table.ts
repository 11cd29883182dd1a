import { type Deletion } from '@casvault/contracts';
import { EntitySchema } from 'typeorm';

export interface DeletionRow {
  id: string;
  chainId: string;
  state: Deletion['state'];
  createdAt: Date;
  shown: Deletion;
}

export const deletionTable = new EntitySchema<DeletionRow>({
  name: 'deletion',
  columns: {
    id: { type: 'uuid', primary: true },
    chainId: { type: 'uuid', name: 'chain_id' },
    state: { type: 'text' },
    createdAt: { type: 'timestamptz', name: 'created_at' },
    shown: { type: 'jsonb' },
  },
});
