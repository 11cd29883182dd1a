import { EntitySchema } from 'typeorm';

export interface LicenceRow {
  id: string;
  /** As it was signed: what it says is read out of it. */
  text: string;
  importedAt: Date;
}

export const licenceTable = new EntitySchema<LicenceRow>({
  name: 'licence',
  columns: {
    id: { type: 'uuid', primary: true },
    text: { type: 'text' },
    importedAt: { type: 'timestamptz', name: 'imported_at' },
  },
});
