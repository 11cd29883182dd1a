import { EntitySchema } from 'typeorm';

export interface LicenceRow {
  id: string;
  holder: string;
  modules: Record<string, number>;
  features: string[];
  issuedAt: Date;
  expiresAt: Date | null;
  text: string;
  importedAt: Date;
}

export const licenceTable = new EntitySchema<LicenceRow>({
  name: 'licence',
  columns: {
    id: { type: 'uuid', primary: true },
    holder: { type: 'text' },
    modules: { type: 'jsonb' },
    features: { type: 'jsonb' },
    issuedAt: { type: 'timestamptz', name: 'issued_at' },
    expiresAt: { type: 'timestamptz', name: 'expires_at', nullable: true },
    text: { type: 'text' },
    importedAt: { type: 'timestamptz', name: 'imported_at' },
  },
});
