import {
  checkpointNameSchema,
  Fault,
  type Checkpoint,
  type Logger,
  type OpeningId,
} from '@casvault/contracts';
import { knownCheckpointXml, type Domain, type DomainDisk, type Libvirt } from '@casvault/libvirt';
import type { KnownCheckpoint } from '../opening/bitmap.plan.js';
import { parseCheckpointNote } from './checkpoint-note.js';
import { addBitmap, readChain, removeBitmap, type Image } from './image.js';
import { askQemu, keptBitmaps, liveBitmaps } from './layers.js';

const imageTimeoutMs = 60_000;
const isCode = (error: unknown, code: string): boolean => Fault.is(error) && error.code === code;
const isOff = ({ state }: Domain): boolean => state === 'shut-off' || state === 'crashed';
const canKeepBitmaps = (disk: DomainDisk): disk is DomainDisk & { path: string } =>
  disk.path !== null && disk.format === 'qcow2' && (disk.fileType === 'file' || disk.fileType === 'block');

/** A version 7 id tells when it was minted; of another one nothing is known. */
function mintedAt(name: string): string {
  const hex = name.replace(/^casvault-/, '').replaceAll('-', '');
  return new Date(hex[12] === '7' ? Number.parseInt(hex.slice(0, 12), 16) : 0).toISOString();
}

/** A bitmap of a checkpoint, on a disk of the VM: `layer` is the file that it lies in. */
interface Place {
  readonly name: string;
  readonly target: string;
  readonly layer: string;
}

/** A disk with its image and the layers under it. */
interface Layers {
  readonly target: string;
  readonly chain: readonly Image[];
}

/** What a VM has of checkpoints: libvirt's records, and bitmaps. */
interface Remains {
  readonly domain: Domain;
  readonly recorded: readonly string[];
  readonly layers: readonly Layers[];
  readonly places: readonly Place[];
}

/**
 * Checkpoints of VMs: libvirt's record with its bitmaps in the images. The bitmap makes the checkpoint: records without one,
 * and bitmaps whose record is lost (a VM that was moved, a QEMU that died), are found and removed as well.
 */
export class Checkpoints {
  readonly #libvirt: Libvirt;
  readonly #logger: Logger;

  constructor(libvirt: Libvirt, logger: Logger) {
    this.#libvirt = libvirt;
    this.#logger = logger;
  }

  /** Those of `names` that libvirt has a record of. */
  async known(
    vmUuid: string,
    names: readonly string[],
    signal?: AbortSignal,
  ): Promise<Map<string, KnownCheckpoint>> {
    const call = signal ? { signal } : {};
    const there = new Set(await this.#libvirt.checkpointNames(vmUuid, call));
    const found = new Map<string, KnownCheckpoint>();
    for (const name of new Set(names)) {
      if (!there.has(name)) continue;
      const { targets, description } = await this.#libvirt.checkpoint(vmUuid, name, call);
      found.set(name, { targets, ...parseCheckpointNote(description) });
    }
    return found;
  }

  /** All of this product on the VM, with a record or without. Throws VM_NOT_FOUND. */
  async list(vmUuid: string): Promise<Checkpoint[]> {
    const domain = await this.#libvirt.domain(vmUuid);
    const found: Checkpoint[] = [];
    for (const name of await this.#libvirt.checkpointNames(vmUuid)) {
      if (!checkpointNameSchema.safeParse(name).success) continue;
      const { targets, description, createdAtSeconds } = await this.#libvirt.checkpoint(vmUuid, name);
      const { madeBy } = parseCheckpointNote(description);
      const createdAt = new Date(createdAtSeconds * 1_000).toISOString();
      found.push({ name, madeBy, createdAt, targets: [...targets] });
    }
    const recorded = new Set(found.map(({ name }) => name));
    const stray = new Map<string, Set<string>>();
    for (const { name, target } of await this.#places(domain, await readLayers(domain))) {
      if (recorded.has(name) || !checkpointNameSchema.safeParse(name).success) continue;
      stray.set(name, (stray.get(name) ?? new Set()).add(target));
    }
    for (const [name, targets] of stray) {
      found.push({ name, madeBy: null, createdAt: mintedAt(name), targets: [...targets] });
    }
    return found;
  }

  /**
   * Removes the checkpoint with all its bitmaps, on a running or a stopped VM. Gone already is no error. Throws VM_NOT_FOUND,
   * and DISK_SERVICE_REFUSED when an image of a stopped VM is in use elsewhere.
   */
  async remove(vmUuid: string, name: string): Promise<void> {
    await this.#removeOf(await this.#remains(vmUuid), name);
  }

  /** `removeSuperseded`, unless another opening made one under this name. */
  async removeOwn(openingId: OpeningId, vmUuid: string, name: string): Promise<void> {
    if (!(await this.#isOfAnother(openingId, vmUuid, name))) await this.removeSuperseded(vmUuid, [name]);
  }

  /**
   * `remove` for a clean-up, of those of `names` that are there: most went long ago, so the host is looked at once for all. What
   * this host may not change (the VM was moved, its image is in use elsewhere) is told of and left.
   */
  async removeSuperseded(vmUuid: string, names: readonly string[]): Promise<void> {
    if (names.length === 0) return;
    await this.#orLeave(vmUuid, names, async () => {
      const remains = await this.#remains(vmUuid);
      const there = new Set([...remains.recorded, ...remains.places.map((place) => place.name)]);
      for (const name of names)
        if (there.has(name)) await this.#orLeave(vmUuid, [name], () => this.#removeOf(remains, name));
    });
  }

  /** Begins the bitmap in the file of a stopped VM's disk. Says whether it could. */
  async beginKept(path: string, name: string): Promise<boolean> {
    try {
      await addBitmap(path, name, AbortSignal.timeout(imageTimeoutMs));
      return true;
    } catch (error) {
      if (!isCode(error, 'DISK_SERVICE_REFUSED')) throw error;
      this.#logger.warn({ path, checkpoint: name, said: (error as Fault).message }, 'a disk gets no bitmap');
      return false;
    }
  }

  /** Tells libvirt of bitmaps in the images, so that the next capture of the running VM can count from them. Says whether it would. */
  async record(
    vmUuid: string,
    name: string,
    description: string,
    targets: readonly string[],
    createdAtSeconds: number,
  ): Promise<boolean> {
    try {
      const xml = knownCheckpointXml({ name, description, targets, createdAtSeconds });
      await this.#libvirt.checkpointRedefine(vmUuid, xml);
      return true;
    } catch (error) {
      if (!isCode(error, 'LIBVIRT_FAILED')) throw error;
      this.#logger.warn(
        { vmUuid, checkpoint: name, said: (error as Fault).message },
        'libvirt takes no record of a checkpoint',
      );
      return false;
    }
  }

  /** Says whether the VM has a checkpoint of this name that this very opening made. */
  async hasMade(openingId: OpeningId, vmUuid: string, name: string): Promise<boolean> {
    return (await this.#knownOrNot(vmUuid, name))?.madeBy === openingId;
  }

  async #remains(vmUuid: string): Promise<Remains> {
    const domain = await this.#libvirt.domain(vmUuid);
    const [layers, recorded] = await Promise.all([readLayers(domain), this.#libvirt.checkpointNames(vmUuid)]);
    return { domain, recorded, layers, places: await this.#places(domain, layers) };
  }

  async #removeOf({ domain, recorded, layers, places }: Remains, name: string): Promise<void> {
    const isKnown = recorded.includes(name);
    if (!isOff(domain)) {
      await this.#removeFromQemu(domain, layers, name, isKnown);
      return;
    }
    for (const place of places)
      if (place.name === name) await removeBitmap(place.layer, name, AbortSignal.timeout(imageTimeoutMs));
    if (isKnown) await this.#libvirt.checkpointDelete(domain.uuid, name, { metadataOnly: true });
  }

  async #orLeave(vmUuid: string, names: readonly string[], removal: () => Promise<void>): Promise<void> {
    try {
      await removal();
    } catch (error) {
      if (!isCode(error, 'VM_NOT_FOUND') && !isCode(error, 'DISK_SERVICE_REFUSED')) throw error;
      this.#logger.warn({ vmUuid, checkpoints: names, said: String(error) }, 'checkpoints are left');
    }
  }

  async #isOfAnother(openingId: OpeningId, vmUuid: string, name: string): Promise<boolean> {
    const known = await this.#knownOrNot(vmUuid, name);
    return known !== undefined && known.madeBy !== openingId;
  }

  async #knownOrNot(vmUuid: string, name: string): Promise<KnownCheckpoint | undefined> {
    try {
      return (await this.known(vmUuid, [name])).get(name);
    } catch (error) {
      if (isCode(error, 'VM_NOT_FOUND') || isCode(error, 'NOT_FOUND')) return undefined;
      throw error;
    }
  }

  /** libvirt removes what it has a record of, from every layer; what it has none of is recorded first. */
  async #removeFromQemu(
    domain: Domain,
    layers: readonly Layers[],
    name: string,
    isKnown: boolean,
  ): Promise<void> {
    if (isKnown) await this.#forget(domain.uuid, name);
    const left = (await this.#places(domain, layers)).filter((place) => place.name === name);
    if (left.length === 0) return;
    const targets = [...new Set(left.map(({ target }) => target))];
    if (!(await this.record(domain.uuid, name, '', targets, 0))) {
      throw new Fault(
        'DISK_SERVICE_REFUSED',
        `libvirt does not take over bitmap ${name} of VM ${domain.name}`,
      );
    }
    await this.#libvirt.checkpointDelete(domain.uuid, name);
  }

  async #forget(vmUuid: string, name: string): Promise<void> {
    try {
      await this.#libvirt.checkpointDelete(vmUuid, name);
    } catch (error) {
      // A bitmap did not survive (a QEMU that died): the record alone goes, then what is left of the others.
      if (!(isCode(error, 'LIBVIRT_FAILED') && /bitmap/i.test((error as Fault).message))) throw error;
      await this.#libvirt.checkpointDelete(vmUuid, name, { metadataOnly: true });
    }
  }

  /** Every bitmap on the disks of the VM: as the files told, and a running QEMU tells of those that it has open. */
  async #places(domain: Domain, layers: readonly Layers[]): Promise<Place[]> {
    const nodes = isOff(domain) ? null : await askQemu(this.#libvirt, domain.uuid, this.#logger);
    const places: Place[] = [];
    for (const { target, chain } of layers) {
      const { bitmaps } = isOff(domain) ? keptBitmaps(chain) : liveBitmaps(chain, nodes);
      for (const { name, layer } of bitmaps) {
        const path = chain[layer]?.path;
        if (path !== undefined) places.push({ name, target, layer: path });
      }
    }
    return places;
  }
}

/** One qemu-img per layer. */
async function readLayers(domain: Domain): Promise<Layers[]> {
  const layers: Layers[] = [];
  for (const { path, format, target } of domain.disks.filter(canKeepBitmaps))
    layers.push({ target, chain: await readChain(path, format, AbortSignal.timeout(imageTimeoutMs)) });
  return layers;
}
