import { type Role } from '@casvault/contracts';
import { EntitySchema } from 'typeorm';

export interface UserRow {
  id: string;
  name: string;
  passwordHash: string;
  roles: Role[];
  createdAt: Date;
}

export const userTable = new EntitySchema<UserRow>({
  name: 'app_user',
  columns: {
    id: { type: 'uuid', primary: true },
    name: { type: 'text' },
    passwordHash: { type: 'text', name: 'password_hash' },
    roles: { type: 'jsonb' },
    createdAt: { type: 'timestamptz', name: 'created_at' },
  },
});
