import { Fault, type CaptureRequest } from '@casvault/contracts';
import type { Domain, DomainDisk } from '@casvault/libvirt';

/** Facts of one layer of a disk, as far as they decide. */
export interface LayerFacts {
  readonly path: string;
  readonly format: string;
  readonly encrypted: boolean;
  readonly snapshots: readonly { readonly id: string; readonly name: string }[];
}

export interface PlannedDisk {
  readonly target: string;
  /** As libvirt names it, not as the request did. */
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
  readonly incrementalFrom: string | null;
  /** The caller wants no bitmap begun on it. */
  readonly isUntracked: boolean;
}

const refuse = (domain: Domain, rule: string): Fault =>
  new Fault('CAPTURE_REFUSED', `VM ${domain.name} is not captured: ${rule}`, {
    details: { vmUuid: domain.uuid, vmState: domain.state },
  });

/** How the VM's state lets it be captured. Throws CAPTURE_REFUSED for a paused VM (R11) and states on their way. */
export function captureMethod(domain: Domain): 'live' | 'offline' {
  switch (domain.state) {
    case 'running':
    case 'blocked':
      return 'live';
    case 'shut-off':
    case 'crashed':
      return 'offline';
    case 'paused':
    case 'suspended':
      throw refuse(domain, `it is ${domain.state}, and a paused VM is not backed up (R11)`);
    case 'shutting-down':
    case 'no-state':
      throw refuse(domain, `its state is ${domain.state}: try again when it runs or is shut off`);
  }
}

function planDisk(domain: Domain, disk: DomainDisk, path: string): PlannedDisk {
  const what = `disk ${disk.target}`;
  if (disk.device !== 'disk' && disk.device !== 'lun') throw refuse(domain, `${what} is a ${disk.device}`);
  if (disk.fileType !== 'file' && disk.fileType !== 'block') {
    throw refuse(
      domain,
      `${what} is of type ${disk.fileType}: only files and block devices can be read here`,
    );
  }
  if (disk.encrypted) throw refuse(domain, `${what} is encrypted (R2)`);
  if (disk.format !== 'qcow2' && disk.format !== 'raw') {
    throw refuse(domain, `${what} has the format ${disk.format}: only qcow2 and raw can be read here`);
  }
  return { target: disk.target, path, format: disk.format, incrementalFrom: null, isUntracked: false };
}

/**
 * The requested disks as the VM has them. `samePath` tells whether two paths name one file. Throws CAPTURE_REFUSED for a
 * disk that the VM has not, has elsewhere, or that can't be read.
 */
export function planDisks(
  request: CaptureRequest,
  domain: Domain,
  samePath: (requested: string, attached: string) => boolean,
): PlannedDisk[] {
  const targets = new Set<string>();
  return request.disks.map((wanted) => {
    if (targets.has(wanted.target)) throw refuse(domain, `disk ${wanted.target} is asked for twice`);
    targets.add(wanted.target);
    const disk = domain.disks.find((one) => one.target === wanted.target);
    if (!disk) throw refuse(domain, `it has no disk ${wanted.target}`);
    if (disk.path === null) throw refuse(domain, `disk ${wanted.target} has no medium`);
    if (!samePath(wanted.path, disk.path)) {
      throw refuse(domain, `its disk ${wanted.target} is ${disk.path} now, not ${wanted.path}`);
    }
    return {
      ...planDisk(domain, disk, disk.path),
      incrementalFrom: wanted.incrementalFrom ?? null,
      isUntracked: wanted.untracked === true,
    };
  });
}

/** Throws CAPTURE_REFUSED for a disk one of whose layers calls itself encrypted in its header (R2). */
export function refuseEncrypted(domain: Domain, disk: PlannedDisk, chain: readonly LayerFacts[]): void {
  if (chain.some(({ encrypted }) => encrypted)) throw refuse(domain, `disk ${disk.target} is encrypted (R2)`);
}

/** The id of the internal snapshot called `name`. Throws CAPTURE_REFUSED for an image without it. */
export function internalSnapshot(
  domain: Domain,
  disk: PlannedDisk,
  image: LayerFacts | undefined,
  name: string,
): string {
  const found = image?.snapshots.filter((snapshot) => snapshot.name === name) ?? [];
  const [only] = found;
  if (only === undefined) throw refuse(domain, `disk ${disk.target} has no internal snapshot ${name}`);
  if (found.length > 1) {
    throw refuse(domain, `disk ${disk.target} has ${String(found.length)} internal snapshots ${name}`);
  }
  return only.id;
}

/**
 * Place in the chain of the layer that an external snapshot froze, as the caller names it. Throws CAPTURE_REFUSED when it is none
 * of the disk's layers, or the active one, which the guest writes.
 */
export function frozenLayer(
  domain: Domain,
  disk: PlannedDisk,
  chain: readonly LayerFacts[],
  isRequested: (path: string) => boolean,
): number {
  const place = chain.findIndex(({ path }) => isRequested(path));
  const what = `disk ${disk.target}`;
  if (place < 0) throw refuse(domain, `${what} (${disk.path}) has no such layer below it`);
  if (place === 0) throw refuse(domain, `${what}: ${disk.path} is its active layer, which no snapshot froze`);
  const format = chain[place]?.format;
  if (format !== 'qcow2' && format !== 'raw') {
    throw refuse(
      domain,
      `${what} has a layer of the format ${String(format)}: only qcow2 and raw can be read`,
    );
  }
  return place;
}
