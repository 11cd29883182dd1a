import { Fault, type CaptureRequest } from '@casvault/contracts';
import type { Domain, DomainDisk } from '@casvault/libvirt';

/** Facts of one disk's image, as far as they decide. */
export interface ImageFacts {
  readonly sizeBytes: number;
  readonly encrypted: boolean;
  readonly keepsBitmaps: boolean;
  readonly bitmaps: readonly string[];
  readonly backingFile: string | null;
}

export interface PlannedDisk {
  readonly target: string;
  /** As libvirt names it, not as the request did. */
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
  readonly incrementalFrom: string | null;
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
  return { target: disk.target, path, format: disk.format, incrementalFrom: null };
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
    return { ...planDisk(domain, disk, disk.path), incrementalFrom: wanted.incrementalFrom ?? null };
  });
}

/** Throws CAPTURE_REFUSED for an image that its own header calls encrypted (R2). */
export function refuseEncrypted(domain: Domain, disk: PlannedDisk, image: ImageFacts): void {
  if (image.encrypted) throw refuse(domain, `disk ${disk.target} is encrypted (R2)`);
}

/**
 * The bitmap that a disk's export can show: live when libvirt has that checkpoint for the disk; offline when the file itself
 * keeps the whole bitmap in its only layer. Null otherwise: the caller reads the disk in full.
 */
export function bitmapSince(
  disk: PlannedDisk,
  image: ImageFacts,
  method: 'live' | 'offline',
  checkpoints: ReadonlyMap<string, readonly string[]>,
): string | null {
  const wanted = disk.incrementalFrom;
  if (wanted === null || !image.keepsBitmaps) return null;
  if (method === 'live') return checkpoints.get(wanted)?.includes(disk.target) === true ? wanted : null;
  return image.backingFile === null && image.bitmaps.includes(wanted) ? wanted : null;
}
