import { readFile, rename, writeFile } from 'node:fs/promises';
import { z } from 'zod';

/** A snapshot's words that only the CVM keeps, and the layers of an external one; what holds the data knows the rest. */
const snapshotRecordSchema = z.object({
  name: z.string(),
  title: z.string(),
  description: z.string(),
  kind: z.enum(['memory', 'internal', 'external']).default('memory'),
  parent: z.string().nullable().default(null),
  createdAt: z.string().default(''),
  layers: z.array(z.object({ target: z.string(), base: z.string(), overlay: z.string() })).default([]),
});
export type SnapshotRecord = z.infer<typeof snapshotRecordSchema>;

export const vmRecordSchema = z.object({
  id: z.number(),
  uuid: z.uuid(),
  name: z.string(),
  title: z.string(),
  description: z.string(),
  hostId: z.number(),
  /** Started again with the lab. */
  wanted: z.enum(['running', 'shutOff']),
  createdAt: z.string(),
  osVersion: z.string(),
  system: z.number(),
  /** By MAC address: the switch and the policy template of a port. */
  ports: z.record(z.string(), z.object({ switchId: z.number(), profileId: z.number().nullable() })),
  snapshots: z.array(snapshotRecordSchema),
  /** Targets of disks in independent-persistent mode (R4). */
  independent: z.array(z.string()).default([]),
  /** It is never started: machines are deployed from it. */
  isTemplate: z.boolean().default(false),
});
export type VmRecord = z.infer<typeof vmRecordSchema>;

export const storagePoolRecordSchema = z.object({
  hostId: z.number(),
  name: z.string(),
  title: z.string(),
  type: z.enum(['dir', 'netfs']),
  path: z.string(),
  active: z.boolean(),
  /** Stands for a small store; null: as big as the file system below it. */
  quotaBytes: z.number().nullable(),
});
export type StoragePoolRecord = z.infer<typeof storagePoolRecordSchema>;

export const switchRecordSchema = z.object({
  id: z.number(),
  hostId: z.number(),
  name: z.string(),
  mode: z.number(),
  networkType: z.string(),
  address: z.string(),
  isManage: z.boolean(),
});
export type SwitchRecord = z.infer<typeof switchRecordSchema>;

export const profileRecordSchema = z.object({
  id: z.number(),
  name: z.string(),
  description: z.string(),
  vlanId: z.number().nullable(),
});
export type ProfileRecord = z.infer<typeof profileRecordSchema>;

const userSchema = z.object({ name: z.string(), password: z.string(), administrator: z.boolean() });
export type UserRecord = z.infer<typeof userSchema>;

const hostRecordSchema = z.object({ id: z.number(), name: z.string(), address: z.string() });

/** What only a CVM knows. Everything that libvirt, QEMU or the file system knows is asked there. */
export const platformStateSchema = z.object({
  version: z.literal(1),
  nextId: z.number(),
  users: z.array(userSchema),
  diskServiceToken: z.string(),
  hosts: z.array(hostRecordSchema),
  vms: z.array(vmRecordSchema),
  storagePools: z.array(storagePoolRecordSchema),
  switches: z.array(switchRecordSchema),
  profiles: z.array(profileRecordSchema),
});
export type PlatformState = z.infer<typeof platformStateSchema>;

/** The state in one JSON file: read once, written whole after every change, one write at a time. */
export class StateFile {
  readonly #path: string;
  readonly state: PlatformState;
  #writing: Promise<void> = Promise.resolve();

  private constructor(path: string, state: PlatformState) {
    this.#path = path;
    this.state = state;
  }

  /** The state that is there, or what `make` gives. */
  static async open(path: string, make: () => PlatformState): Promise<{ file: StateFile; isNew: boolean }> {
    const text = await readFile(path, 'utf8').catch(() => null);
    const file = new StateFile(
      path,
      text === null ? make() : platformStateSchema.parse(JSON.parse(text) as unknown),
    );
    await file.save();
    return { file, isNew: text === null };
  }

  /** Ids are small numbers, never used again. */
  nextId(): number {
    return this.state.nextId++;
  }

  /** Resolves when the present state is on the disk. */
  async save(): Promise<void> {
    const write = async (): Promise<void> => {
      await writeFile(`${this.#path}.new`, `${JSON.stringify(this.state, null, 2)}\n`, { mode: 0o600 });
      await rename(`${this.#path}.new`, this.#path);
    };
    this.#writing = this.#writing.then(write, write);
    await this.#writing;
  }
}
